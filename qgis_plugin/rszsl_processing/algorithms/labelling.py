"""What Map classes, Relabel from cache and Map a folder of scenes share: classes, examples, and how sure."""

from __future__ import annotations

from pathlib import Path

from qgis.core import QgsProcessingContext, QgsProcessingFeedback

from rszsl_processing.algorithms.base import Parameters, RszslAlgorithm, given
from rszsl_processing.bridge.examples import FIELD, check_examples, write_examples
from rszsl_processing.core.classes import chosen_classes, split_classes
from rszsl_processing.core.command import MapSettings
from rszsl_processing.core.errors import PluginError


class LabellingAlgorithm(RszslAlgorithm):
    """An algorithm that gives classes to tiles."""

    def check(self, parameters: Parameters, context: QgsProcessingContext) -> None:
        """Check the class list and the examples."""
        by_example = given(parameters, "EXAMPLES")
        file = self.parameterAsFile(parameters, "CLASSES_FILE", context)
        chosen_classes(self.text(parameters, "CLASSES", context), file, may_be_empty=by_example)
        if by_example:
            source = self.parameterAsSource(parameters, "EXAMPLES", context)
            check_examples(source, self._class_field(parameters, context))
        elif given(parameters, "CLASS_FIELD"):
            raise PluginError("a class field needs examples: choose their layer too")

    def label_settings(
        self, parameters: Parameters, context: QgsProcessingContext, feedback: QgsProcessingFeedback, scratch: Path
    ) -> MapSettings:
        """The options of the command.

        Args:
            parameters: of the run.
            context: of the run.
            feedback: hears of examples that are left out.
            scratch: folder for the examples.

        Raises:
            PluginError: where the examples hold nothing.
        """
        file = self.parameterAsFile(parameters, "CLASSES_FILE", context)
        names = [] if file else split_classes(self.text(parameters, "CLASSES", context))
        examples = self._examples(parameters, context, feedback, scratch)
        options: dict[str, str | bool | None] = {
            "examples": examples,
            "class-field": FIELD if examples else None,
            "refine": self.parameterAsBoolean(parameters, "REFINE", context),
            "model": self.model_name(parameters, context),
            "device": self.parameterAsEnumString(parameters, "DEVICE", context),
            "min-confidence": self.number(parameters, "MIN_CONFIDENCE", context),
        }
        return MapSettings(names, file, options)

    def model_name(self, parameters: Parameters, context: QgsProcessingContext) -> str:
        """The model, by its name or folder."""
        return self.text(parameters, "MODEL", context)

    def number(self, parameters: Parameters, name: str, context: QgsProcessingContext) -> str | None:
        """A number as the command line spells it, None where none is given."""
        return f"{self.parameterAsDouble(parameters, name, context):.12g}" if given(parameters, name) else None

    def _class_field(self, parameters: Parameters, context: QgsProcessingContext) -> str:
        return self.text(parameters, "CLASS_FIELD", context) or FIELD

    def _examples(
        self, parameters: Parameters, context: QgsProcessingContext, feedback: QgsProcessingFeedback, scratch: Path
    ) -> str | None:
        if not given(parameters, "EXAMPLES"):
            return None
        source, field = self.parameterAsSource(parameters, "EXAMPLES", context), self._class_field(parameters, context)
        check_examples(source, field)
        path = str(scratch / "examples.gpkg")
        write_examples(source, field, path, context.transformContext(), feedback)
        return path
