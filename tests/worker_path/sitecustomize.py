"""Python reads this first, in worker processes that find it on their path."""

from tests.torchvision_operators import define_missing_operators

define_missing_operators()
