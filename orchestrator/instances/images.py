"""The AMI: the first of an ordered list of AWS's own names that a region knows, else the newest by name."""

from __future__ import annotations

from orchestrator.errors import GpujobError
from orchestrator.instances import launch
from orchestrator.instances.awserrors import AwsError
from orchestrator.instances.cloud import Cloud
from orchestrator.instances.launch import Image

_PARAMETER = "/aws/service/deeplearning/ami/x86_64/{}/latest/ami-id"


def find(cloud: Cloud, region: str, names: tuple[str, ...]) -> Image:
    """`names`: those of launch.IMAGES, whole SSM parameters, or ids (`ami-…`)."""
    for name in names:
        if found := _resolve(cloud, region, name):
            return _describe(cloud, region, found, name)
    return _newest(cloud, region, names)


def _resolve(cloud: Cloud, region: str, name: str) -> str | None:
    if name.startswith("ami-"):
        return name
    parameter = name if name.startswith("/") else _PARAMETER.format(name)
    try:
        answer = cloud.call(region, "get_parameter", service="ssm", Name=parameter)
    except AwsError as error:
        if error.code in ("ParameterNotFound", "AccessDeniedException", "ParameterVersionNotFound"):
            return None
        raise
    return str(answer["Parameter"]["Value"])


def _describe(cloud: Cloud, region: str, image_id: str, name: str) -> Image:
    found = cloud.call(region, "describe_images", ImageIds=[image_id])["Images"]
    if not found:
        raise GpujobError(
            f"{region} has no image {image_id}", f"it stands for {name}", "resources.ec2.images"
        )
    return _image(found[0])


def _newest(cloud: Cloud, region: str, names: tuple[str, ...]) -> Image:
    filters = [
        {"Name": "name", "Values": [launch.IMAGE_NAMES]},
        {"Name": "architecture", "Values": ["x86_64"]},
        {"Name": "state", "Values": ["available"]},
    ]
    found = cloud.call(region, "describe_images", Owners=["amazon"], Filters=filters)["Images"]
    if not found:
        why = f"none of {', '.join(names)}, and no image is named like {launch.IMAGE_NAMES!r}"
        raise GpujobError(f"{region} has no image to start from", why, "resources.ec2.images: [ami-…]")
    return _image(max(found, key=lambda image: str(image["CreationDate"])))


def _image(found: dict[str, object]) -> Image:
    device = str(found.get("RootDeviceName") or "/dev/sda1")
    mappings = found.get("BlockDeviceMappings") or []
    assert isinstance(mappings, list)
    sizes = [m["Ebs"].get("VolumeSize", 0) for m in mappings if m.get("DeviceName") == device and "Ebs" in m]
    return Image(str(found["ImageId"]), str(found.get("Name", "")), device, int(sizes[0]) if sizes else 0)
