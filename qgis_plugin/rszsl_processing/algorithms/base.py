"""What all algorithms share: names from class attributes, and one way from our errors to QGIS's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qgis.core import QgsProcessingAlgorithm, QgsProcessingContext, QgsProcessingException, QgsProcessingFeedback
from qgis.PyQt.QtGui import QIcon

from rszsl_processing.bridge import settings
from rszsl_processing.core.errors import PluginError
from rszsl_processing.core.version import checked_version

ICON = str(Path(__file__).parents[1] / "icon.svg")
HELP_URL = "https://github.com/rszsl/rszsl/blob/main/docs/QGIS.md"

Parameters = dict[str, Any]


class RszslAlgorithm(QgsProcessingAlgorithm):
    """Subclasses set the attributes and write `initAlgorithm`, `work`, and where they need it `check`."""

    NAME = TITLE = SHORT = HELP = ""
    GROUP = ("mapping", "Mapping")
    TAGS: tuple[str, ...] = ()

    def work(
        self, parameters: Parameters, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> Parameters:
        """Do the work; a PluginError is shown to the user as its one line."""
        raise NotImplementedError

    def check(self, parameters: Parameters, context: QgsProcessingContext) -> None:
        """Raise a PluginError for values that make no sense together."""

    def processAlgorithm(
        self, parameters: Parameters, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> Parameters:
        """Run, in QGIS's words."""
        try:
            return self.work(parameters, context, feedback)
        except PluginError as err:
            raise QgsProcessingException(str(err)) from err

    def checkParameterValues(self, parameters: Parameters, context: QgsProcessingContext) -> tuple[bool, str]:
        """Check before the run: QGIS's own rules, then ours."""
        fine, message = super().checkParameterValues(parameters, context)
        if not fine:
            return fine, message
        try:
            self.check(parameters, context)
        except PluginError as err:
            return False, str(err)
        return True, ""

    def text(self, parameters: Parameters, name: str, context: QgsProcessingContext) -> str:
        """A text parameter, never None."""
        return (self.parameterAsString(parameters, name, context) or "").strip()

    def ready_executable(self) -> str:
        """The command, after a look at its version.

        Raises:
            PluginError: where it is missing, broken or too old.
        """
        executable = settings.executable()
        checked_version(executable, settings.environment_for(executable))
        return executable

    def cache_that_is_there(self, parameters: Parameters, context: QgsProcessingContext) -> str:
        """The path in the parameter CACHE.

        Raises:
            PluginError: where there is no such file.
        """
        path = Path(self.parameterAsFile(parameters, "CACHE", context))
        if not path.is_file():
            raise PluginError(f"there is no cache {path}; Map classes makes one where you name a file under Cache")
        return str(path.absolute())

    def createInstance(self) -> RszslAlgorithm:
        """A fresh one."""
        return type(self)()

    def name(self) -> str:
        """Id in the provider."""
        return self.NAME

    def displayName(self) -> str:
        """Title in the toolbox."""
        return self.TITLE

    def group(self) -> str:
        """Title of the group."""
        return self.GROUP[1]

    def groupId(self) -> str:
        """Id of the group."""
        return self.GROUP[0]

    def tags(self) -> list[str]:
        """Words by which it is found."""
        return [*self.TAGS, "rszsl"]

    def shortDescription(self) -> str:
        """Tool tip."""
        return self.SHORT

    def shortHelpString(self) -> str:
        """Text beside the dialog."""
        return self.HELP or self.SHORT

    def helpUrl(self) -> str:
        """The user page."""
        return HELP_URL

    def icon(self) -> QIcon:
        """The project's icon."""
        return QIcon(ICON)

    def svgIconPath(self) -> str:
        """The icon for the model designer."""
        return ICON


def given(parameters: Parameters, name: str) -> bool:
    """Whether a parameter has a value."""
    return parameters.get(name) not in (None, "")
