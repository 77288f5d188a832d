"""Model information: `rszsl models list` and `rszsl models show`."""

from __future__ import annotations

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingOutputString,
    QgsProcessingParameterString,
)

from rszsl_processing.algorithms.base import Parameters, RszslAlgorithm
from rszsl_processing.bridge import settings
from rszsl_processing.bridge.cards import ask, read_card
from rszsl_processing.bridge.parameters import helped
from rszsl_processing.core.card import card_number, card_text


class ModelAlgorithm(RszslAlgorithm):
    """Which models there are, or what one of them is."""

    NAME, TITLE = "model", "Model information"
    GROUP = ("setup", "Models and set-up")
    SHORT = "Lists the models, or shows what a model is and how well it does"
    TAGS = ("model", "card", "accuracy", "licence")
    HELP = (
        "Without a name, lists the bundled models. With the name or the folder of a model, shows its card: pixel "
        "size, training data with licences, measured accuracy."
    )

    def initAlgorithm(self, configuration: Parameters | None = None) -> None:
        """Declare parameters and outputs."""
        model = QgsProcessingParameterString("MODEL", "Model", "", False, True)
        self.addParameter(helped(model, "Name of a bundled model, or the folder of a model; empty for the list."))
        self.addOutput(QgsProcessingOutputString("CARD", "The card, or the list"))
        self.addOutput(QgsProcessingOutputString("NAME", "Name"))
        self.addOutput(QgsProcessingOutputString("VERSION", "Version"))
        self.addOutput(QgsProcessingOutputNumber("GSD_M", "Pixel size in metres"))
        self.addOutput(QgsProcessingOutputNumber("INPUT_PX", "Side of a tile in pixels"))

    def work(
        self, parameters: Parameters, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> Parameters:
        """Ask the command."""
        executable = settings.executable()
        name = self.text(parameters, "MODEL", context)
        said = read_card(executable, name) if name else ask([executable, "models", "list"])
        feedback.pushInfo(said)
        if not name:
            return {"CARD": said}
        return {
            "CARD": said,
            "NAME": card_text(said, "name"),
            "VERSION": card_text(said, "version"),
            "GSD_M": card_number(said, "input", "gsd_m"),
            "INPUT_PX": card_number(said, "input", "px"),
        }
