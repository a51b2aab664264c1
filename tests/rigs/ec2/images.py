"""The machine images of the rig, under the names AWS gives its Deep Learning AMIs."""

from __future__ import annotations

from typing import Any

OWNER = "898082745236"
ROOT_GB = 35
_PREFIX = "/aws/service/deeplearning/ami"
_NAMES = {
    "ami-0d1a0000000002613": (
        "oss-nvidia-driver-gpu-pytorch-2.13-ubuntu-26.04",
        "PyTorch 2.13 (Ubuntu 26.04)",
    ),
    "ami-0d1a0000000002412": (
        "oss-nvidia-driver-gpu-pytorch-2.12-ubuntu-24.04",
        "PyTorch 2.12 (Ubuntu 24.04)",
    ),
    "ami-0d1a0000000002410": (
        "oss-nvidia-driver-gpu-pytorch-2.10-ubuntu-24.04",
        "PyTorch 2.10 (Ubuntu 24.04)",
    ),
    "ami-0d1a0000000002400": ("base-oss-nvidia-driver-gpu-ubuntu-24.04", "Base (Ubuntu 24.04)"),
    "ami-0d1a0000000002200": ("base-oss-nvidia-driver-gpu-ubuntu-22.04", "Base (Ubuntu 22.04)"),
}
PARAMETERS = {f"{_PREFIX}/x86_64/{name}/latest/ami-id": ami for ami, (name, _) in _NAMES.items()}


def images() -> list[dict[str, Any]]:
    """Return the images in the format of MOTO_AMIS_PATH; later entries have later creation dates."""
    built = {ami: f"2026-08-{29 - age:02}" for age, ami in enumerate(_NAMES)}
    return [
        {
            "ami_id": ami,
            "name": f"Deep Learning OSS Nvidia Driver AMI GPU {title} {built[ami].replace('-', '')}",
            "description": title,
            "state": "available",
            "public": True,
            "owner_id": OWNER,
            "owner_alias": "amazon",
            "image_location": "amazon/deep-learning",
            "image_type": "machine",
            "architecture": "x86_64",
            "platform": None,
            "root_device_type": "ebs",
            "root_device_name": "/dev/sda1",
            "sriov": "simple",
            "virtualization_type": "hvm",
            "hypervisor": "xen",
            "creation_date": built[ami] + "T00:00:00.000Z",
        }
        for ami, (_, title) in _NAMES.items()
    ]
