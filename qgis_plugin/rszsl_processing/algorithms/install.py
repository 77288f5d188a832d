"""Install or update rszsl, in an environment of its own: never in QGIS's Python."""

from __future__ import annotations

import shutil
from pathlib import Path

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputString,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterFile,
    QgsProcessingParameterString,
)

from rszsl_processing.algorithms.base import Parameters, RszslAlgorithm
from rszsl_processing.bridge import settings
from rszsl_processing.bridge.compat import ANY_FILE, FOLDER
from rszsl_processing.bridge.parameters import helped
from rszsl_processing.bridge.runner import Runner
from rszsl_processing.core.discovery import Machine, default_environment, this_machine
from rszsl_processing.core.errors import PluginError
from rszsl_processing.core.install import Wish, check_folder, commands, find_python, find_uv
from rszsl_processing.core.version import checked_version


class InstallAlgorithm(RszslAlgorithm):
    """Makes the environment, or updates rszsl in it."""

    NAME, TITLE = "install", "Install or update rszsl"
    GROUP = ("setup", "Models and set-up")
    SHORT = "Makes a Python environment of its own with rszsl in it; QGIS's Python is left alone"
    TAGS = ("install", "update", "environment", "venv", "pip", "uv", "torch")
    HELP = (
        "Makes a virtual environment with the platform's Python (3.11 or newer) and installs rszsl there, with uv "
        "or else with pip. With torch for NVIDIA GPUs it takes some 6.5 GB of disk, without about 1.5 GB.\n\n"
        "The proxy of QGIS's settings is used. Without a network, name a folder of wheels. QGIS's own Python is never "
        "touched; to remove rszsl, delete the folder."
    )

    def initAlgorithm(self, configuration: Parameters | None = None) -> None:
        """Declare parameters and outputs."""
        package = QgsProcessingParameterString("PACKAGE", "Package", "rszsl")
        cpu = QgsProcessingParameterBoolean("CPU_ONLY", "Without GPU support", False)
        folder = QgsProcessingParameterFile("FOLDER", "Folder of the environment", FOLDER, "", None, True)
        python = QgsProcessingParameterFile("PYTHON", "Python", ANY_FILE, "", None, True, "All files (*)")
        wheels = QgsProcessingParameterFile("WHEELS", "Folder of wheels (offline)", FOLDER, "", None, True)
        self.addParameter(helped(package, "What pip takes: rszsl, rszsl==0.1.0, a folder, a wheel or a URL."))
        self.addParameter(helped(cpu, "Takes torch from PyTorch's CPU index, which spares some 5 GB."))
        where = f"Empty: {default_environment(this_machine())}"
        self.addParameter(helped(folder, where, advanced=True))
        self.addParameter(helped(python, "Empty: the first that is 3.11 or newer.", advanced=True))
        self.addParameter(helped(wheels, "Install from these files alone, without a network.", advanced=True))
        self.addOutput(QgsProcessingOutputString("EXECUTABLE", "Executable"))
        self.addOutput(QgsProcessingOutputString("VERSION", "Version"))

    def work(
        self, parameters: Parameters, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> Parameters:
        """Make the environment; one that could not be finished is taken away again."""
        machine = this_machine()
        named = self.parameterAsFile(parameters, "FOLDER", context)
        wish = Wish(
            folder=Path(named) if named else default_environment(machine),
            package=self.text(parameters, "PACKAGE", context) or "rszsl",
            wheels=self.parameterAsFile(parameters, "WHEELS", context),
            cpu_only=self.parameterAsBoolean(parameters, "CPU_ONLY", context),
        )
        check_folder(wish.folder)
        python = find_python(
            self.parameterAsFile(parameters, "PYTHON", context), machine, settings.environment_for("python")
        )
        self._install(wish.folder, commands(wish, python, find_uv(machine), machine), feedback)
        executable = str(wish.folder / machine.script)
        version = checked_version(executable, settings.environment_for(executable))
        if wish.folder != default_environment(machine):
            settings.remember_executable(executable)
        feedback.pushInfo(f"rszsl {version} is ready: {executable}")
        self._say_if_hidden(executable, machine, feedback)
        return {"EXECUTABLE": executable, "VERSION": version}

    def _install(self, folder: Path, steps: list[list[str]], feedback: QgsProcessingFeedback) -> None:
        was_there = folder.exists()
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            for i, step in enumerate(steps):
                feedback.setProgress(100 * i / len(steps))
                Runner(feedback).run(step)
        except OSError as err:
            raise PluginError(f"cannot make {folder}: {err.strerror or err}") from err
        except PluginError:
            if not was_there:
                shutil.rmtree(folder, ignore_errors=True)
            raise

    def _say_if_hidden(self, executable: str, machine: Machine, feedback: QgsProcessingFeedback) -> None:
        """Another rszsl may come first: a setting, a variable, the PATH."""
        found = settings.search().found
        if found and Path(found.path) != Path(executable):
            feedback.pushWarning(f"QGIS goes on using {found.path} ({found.how}), which comes first")
