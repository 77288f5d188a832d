"""The one error of the plugin's own logic."""


class PluginError(Exception):
    """What is wrong, and what to do, in one line for the user."""


class Cancelled(PluginError):
    """The user stopped the run."""
