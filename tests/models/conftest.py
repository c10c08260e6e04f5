"""nequip's own fixtures for tests of models."""

from nequip.utils.unittests.conftest import *  # noqa: F403
