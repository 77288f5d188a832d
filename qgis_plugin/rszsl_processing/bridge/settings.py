"""The plugin's one setting, and what it takes from QGIS's own: profile and proxy."""

from __future__ import annotations

import os

from qgis.core import QgsSettings

from rszsl_processing.core.discovery import Search, find_executable, this_machine
from rszsl_processing.core.environment import child_environment, proxy_url
from rszsl_processing.core.errors import PluginError

SETTING = "RSZSL_EXECUTABLE"
_KEY = f"Processing/Configuration/{SETTING}"


def register(group: str, icon: object) -> None:
    """Show the setting in Settings > Options > Processing > Providers."""
    from processing.core.ProcessingConfig import ProcessingConfig, Setting

    ProcessingConfig.settingIcons[group] = icon
    title = "rszsl executable, or the folder of its environment (empty: searched for)"
    ProcessingConfig.addSetting(Setting(group, SETTING, title, "", valuetype=Setting.FILE))
    ProcessingConfig.readSettings()


def unregister() -> None:
    """Take the setting away."""
    from processing.core.ProcessingConfig import ProcessingConfig

    ProcessingConfig.removeSetting(SETTING)


def search() -> Search:
    """Look for the executable, the setting first."""
    return find_executable(str(QgsSettings().value(_KEY, "") or ""), this_machine())


def executable() -> str:
    """The path of the command.

    Raises:
        PluginError: where there is none.
    """
    looked = search()
    if looked.found is None:
        raise PluginError(looked.problem)
    return looked.found.path


def remember_executable(path: str) -> None:
    """Set the setting, for an environment that the search would not find."""
    QgsSettings().setValue(_KEY, path)


def environment_for(command: str) -> dict[str, str]:
    """The environment in which a command runs."""
    return child_environment(os.environ, command, proxy=proxy())


def proxy() -> str | None:
    """QGIS's proxy as a URL, where one is enabled."""
    settings = QgsSettings()
    if not settings.value("proxy/proxyEnabled", False, type=bool):
        return None
    names = ("proxyType", "proxyHost", "proxyPort", "proxyUser", "proxyPassword")
    return proxy_url(*(str(settings.value(f"proxy/{name}", "") or "") for name in names))
