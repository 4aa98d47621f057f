"""The families of base models, a file each, and which of them a base is of."""

from veneer.models.families.family import Conditioning, CropView, Family
from veneer.models.families.recognise import (
    FAMILIES,
    family_named,
    family_of_checkpoint,
    family_of_folder,
    family_of_network,
    objective_of_checkpoint,
)

__all__ = [
    "FAMILIES",
    "Conditioning",
    "CropView",
    "Family",
    "family_named",
    "family_of_checkpoint",
    "family_of_folder",
    "family_of_network",
    "objective_of_checkpoint",
]
