"""What tests share: small datasets and models, launchers, damage, references."""

import pathlib

ROOT = pathlib.Path(__file__).parents[2]
