from typing import Any

from msgspec.structs import replace

from orchestrator.instances import prices, spec
from orchestrator.instances.instance import parse_tags
from orchestrator.instances.spec import Candidate, Image, LaunchSpec, Placement

SPEC = LaunchSpec(
    types=("g6.xlarge", "g5.xlarge"),
    regions=("us-east-1",),
    spot=False,
    root_gb=100,
    data_gb=0,
    deadline=1_800_000_000.7,
    login_user="ubuntu",
    owner="ada@laptop",
    client="c" * 16,
    job="slowfast",
)
CANDIDATE = Candidate("us-east-1", "us-east-1a", "g6.xlarge", spot=False)
IMAGE = Image("ami-1", "of AWS", "/dev/sda1", 35)


def request(
    launch_spec: LaunchSpec = SPEC, candidate: Candidate = CANDIDATE, image: Image = IMAGE
) -> dict[str, Any]:
    placement = Placement("subnet-1", "sg-1")
    return spec.run_instances_request(
        launch_spec, candidate, image, placement, "#cloud-config", "f" * 16, "0.1.0"
    )


def test_zone_after_zone_of_the_first_type_then_of_the_next() -> None:
    offerings = {"g5.xlarge": ["us-east-1b", "us-east-1a"], "g6.xlarge": ["us-east-1c"]}
    candidates = [(one.type, one.zone) for one in spec.candidates(SPEC, "us-east-1", offerings)]
    assert candidates == [
        ("g6.xlarge", "us-east-1c"),
        ("g5.xlarge", "us-east-1a"),
        ("g5.xlarge", "us-east-1b"),
    ]


def test_a_token_depends_on_the_attempt_and_the_candidate() -> None:
    others = [
        spec.client_token("b" * 16, CANDIDATE),
        *(
            spec.client_token("a" * 16, replace(CANDIDATE, **{key: "x"}))
            for key in ("region", "zone", "type")
        ),
        spec.client_token("a" * 16, replace(CANDIDATE, spot=True)),
    ]
    first = spec.client_token("a" * 16, CANDIDATE)
    assert spec.client_token("a" * 16, CANDIDATE) == first
    assert len({first, *others}) == 6
    assert len(first) <= 64
    assert first.isascii()


def test_the_parts_of_a_token_do_not_run_into_each_other() -> None:
    assert spec.client_token("a", replace(CANDIDATE, region="bc")) != spec.client_token(
        "ab", replace(CANDIDATE, region="c")
    )


def test_instance_volume_and_interface_are_tagged_by_the_launch() -> None:
    tagged = {one["ResourceType"]: parse_tags(one["Tags"]) for one in request()["TagSpecifications"]}
    assert set(tagged) == {"instance", "volume", "network-interface"}
    assert tagged["instance"] == tagged["volume"] == tagged["network-interface"]
    assert tagged["instance"] == {
        "gpujob:managed": "1",
        "gpujob:attempt": "f" * 16,
        "gpujob:job": "slowfast",
        "gpujob:user": "ada@laptop",
        "gpujob:client": "c" * 16,
        "gpujob:expires-at": "1800000000",
        "gpujob:version": "0.1.0",
        "Name": "gpujob-slowfast",
    }


def test_a_request_sets_imdsv2_an_encrypted_disk_and_the_security_group() -> None:
    made = request()
    assert made["MetadataOptions"]["HttpTokens"] == "required"
    assert made["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    assert [disk["Ebs"] for disk in made["BlockDeviceMappings"]] == [
        {"VolumeSize": 100, "VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True}
    ]
    (interface,) = made["NetworkInterfaces"]
    assert (interface["Groups"], interface["SubnetId"]) == (["sg-1"], "subnet-1")
    assert interface["DeleteOnTermination"]
    assert (made["MinCount"], made["MaxCount"]) == (1, 1)
    assert not {"KeyName", "IamInstanceProfile", "SecurityGroupIds"} & set(made)


def test_the_root_disk_is_never_smaller_than_the_image() -> None:
    made = request(replace(SPEC, root_gb=10))
    assert made["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"] == 35


def test_the_other_disks_of_an_image_are_encrypted_and_end_with_it() -> None:
    """As the image describes them, they may outlive the instance."""
    image = replace(IMAGE, others={"/dev/sdb": 500, spec.DATA_DEVICE: 7})
    for spot in (False, True):
        launch_spec = replace(SPEC, spot=spot, root_gb=0 if spot else 100, data_gb=120 if spot else 0)
        disks = {
            one["DeviceName"]: one["Ebs"] for one in request(launch_spec, image=image)["BlockDeviceMappings"]
        }
        assert set(disks) == {"/dev/sda1", "/dev/sdb", spec.DATA_DEVICE}
        assert disks["/dev/sdb"] == {
            "VolumeSize": 500,
            "VolumeType": "gp3",
            "Encrypted": True,
            "DeleteOnTermination": True,
        }
        assert disks[spec.DATA_DEVICE]["VolumeSize"] == (120 if spot else 7)
    more = prices.larger_disk(SPEC, image, "us-east-1", SPEC.deadline - 730 * 3600)
    assert "needs disks of 607 GB, and 100 GB are in that price: at most $40.56 more for 730 h" in more


def test_a_spot_request_lets_ec2_start_the_instance_again_until_its_deadline() -> None:
    assert request()["InstanceInitiatedShutdownBehavior"] == "stop"
    assert request(replace(SPEC, volume="vol-1"))["InstanceInitiatedShutdownBehavior"] == "terminate"
    spot = request(replace(SPEC, spot=True, root_gb=0, data_gb=120), replace(CANDIDATE, spot=True))
    assert spot["InstanceInitiatedShutdownBehavior"] == "stop"
    assert spot["InstanceMarketOptions"]["SpotOptions"] == {
        "SpotInstanceType": "persistent",
        "InstanceInterruptionBehavior": "stop",
        "ValidUntil": "2027-01-15T08:00:00Z",
    }
    root, data = spot["BlockDeviceMappings"]
    assert (root["Ebs"]["VolumeSize"], root["Ebs"]["DeleteOnTermination"]) == (35, True)
    assert (data["Ebs"]["VolumeSize"], data["Ebs"]["DeleteOnTermination"]) == (120, False)
    assert data["Ebs"]["Encrypted"]
    kinds = {one["ResourceType"] for one in spot["TagSpecifications"]}
    assert kinds == {"instance", "volume", "network-interface", "spot-instances-request"}
