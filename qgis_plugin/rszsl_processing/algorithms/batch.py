"""Map a folder of scenes: `rszsl map SCENE... --out DIR`, or `rszsl batch` where a Dask scheduler is named."""

from __future__ import annotations

from pathlib import Path

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterFile,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterString,
)

from rszsl_processing.algorithms.base import Parameters
from rszsl_processing.algorithms.mapping import MappingAlgorithm
from rszsl_processing.bridge import results
from rszsl_processing.bridge.compat import FOLDER
from rszsl_processing.bridge.parameters import class_parameters, helped
from rszsl_processing.bridge.runner import Runner
from rszsl_processing.core.command import batch_command, check_scheduler, map_commands
from rszsl_processing.core.scenes import DEFAULT_PATTERN, find_scenes, result_name, write_list
from rszsl_processing.core.staging import put_in_place, staging


class BatchAlgorithm(MappingAlgorithm):
    """A folder in, a folder out; what is done stays done."""

    NAME, TITLE = "batch", "Map a folder of scenes"
    SHORT = "Maps every raster of a folder, each to a GeoPackage of its own"
    TAGS = ("zero-shot", "classification", "folder", "many", "mosaic")
    HELP = (
        "Runs Map classes on every raster of a folder. Each scene has a GeoPackage of its own in the output folder, "
        "named after it: scene.rszsl.gpkg.\n\nScenes whose map is there already are skipped, so that a run which was "
        "cancelled goes on where it stopped. A scene that cannot be mapped is a warning; the others go on."
    )

    def initAlgorithm(self, configuration: Parameters | None = None) -> None:
        """Declare parameters and outputs."""
        folder = QgsProcessingParameterFile("INPUT", "Folder of scenes", FOLDER)
        self.addParameter(helped(folder, "The rasters in this folder are mapped."))
        pattern = QgsProcessingParameterString("PATTERN", "File names", DEFAULT_PATTERN, optional=True)
        self.addParameter(helped(pattern, "Patterns with ; between them. **/*.tif looks into subfolders too."))
        for definition in class_parameters():
            self.addParameter(definition)
        self.add_shared_parameters()
        dask = QgsProcessingParameterString("SCHEDULER", "Dask scheduler", "", False, True)
        about = (
            "Address of a Dask scheduler, tcp://10.0.0.5:8786, whose workers share the scenes and see the same files; "
            "local for workers on this machine. Empty: one scene after the other."
        )
        self.addParameter(helped(dask, about))
        again = QgsProcessingParameterBoolean("OVERWRITE", "Map again where a map is there", False)
        self.addParameter(helped(again, "Else such scenes are skipped."))
        load = QgsProcessingParameterBoolean("LOAD", "Add the maps to the project", False)
        self.addParameter(helped(load, "Each in a legend group of its own."))
        output = QgsProcessingParameterFolderDestination("OUTPUT", "Folder of maps")
        self.addParameter(helped(output, "Made where it is not there."))
        self.addOutput(QgsProcessingOutputNumber("COUNT", "Maps made"))

    def check(self, parameters: Parameters, context: QgsProcessingContext) -> None:
        """Check also that there are scenes."""
        super().check(parameters, context)
        check_scheduler(self.text(parameters, "SCHEDULER", context))
        self._scenes(parameters, context)

    def _scenes(self, parameters: Parameters, context: QgsProcessingContext) -> list[Path]:
        folder = self.parameterAsFile(parameters, "INPUT", context)
        return find_scenes(folder, self.text(parameters, "PATTERN", context) or DEFAULT_PATTERN)

    def work(
        self, parameters: Parameters, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> Parameters:
        """Map what is not mapped yet."""
        out = Path(self.parameterAsString(parameters, "OUTPUT", context)).absolute()
        scenes = self._scenes(parameters, context)
        if not self.parameterAsBoolean(parameters, "OVERWRITE", context):
            there = [scene for scene in scenes if (out / result_name(scene)).exists()]
            scenes = [scene for scene in scenes if scene not in there]
            if there:
                feedback.pushInfo(f"{len(there)} scenes are skipped: their maps are in {out}")
        made: list[Path] = []
        with staging(out) as stage:
            commands = self._commands(parameters, context, feedback, scenes, stage)
            runner = Runner(feedback, scenes=len(scenes), staged={stage: out})
            try:
                for command in commands:
                    runner.run(command, on_done=lambda _: made.extend(_keep(scenes, stage, out)), may_fail_in_part=True)
            finally:
                made.extend(_keep(scenes, stage, out))
        if self.parameterAsBoolean(parameters, "LOAD", context):
            for path in made:
                results.load_on_completion(context, results.shown_map(str(path)))
        return {"OUTPUT": str(out), "COUNT": len(made)}

    def _commands(
        self,
        parameters: Parameters,
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
        scenes: list[Path],
        stage: Path,
    ) -> list[list[str]]:
        """One for all scenes over Dask, else as many as their names need; what they read is beside the results."""
        executable, names = self.ready_executable(), [str(scene) for scene in scenes]
        settings = self.map_settings(parameters, context, feedback, stage, self.area(parameters, context))
        scheduler = self.text(parameters, "SCHEDULER", context)
        if not scheduler or not names:
            return map_commands(executable, names, str(stage), settings)
        listed = stage / "scenes.csv"
        write_list(listed, names)
        return [batch_command(executable, str(listed), str(stage), settings, scheduler)]


def _keep(scenes: list[Path], stage: Path, out: Path) -> list[Path]:
    """Move the maps that are whole to their place; the command gives a map its name when it is."""
    names = [result_name(scene) for scene in scenes if (stage / result_name(scene)).is_file()]
    for name in names:
        put_in_place(stage / name, out / name)
    return [out / name for name in names]
