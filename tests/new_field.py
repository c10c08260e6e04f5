"""A pytest plugin (``-p tests.new_field``): every setting and record has one field more."""

from culi_mlip import configuration


class Configuration(configuration.Configuration):
    """What all settings and records derive from."""

    added_since: int = 7


configuration.Configuration = Configuration  # before other modules take it
