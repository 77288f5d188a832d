"""Doctor: what was found, and what to do."""

from __future__ import annotations

from qgis.core import QgsProcessingContext, QgsProcessingFeedback, QgsProcessingOutputString

from rszsl_processing.algorithms.base import Parameters, RszslAlgorithm
from rszsl_processing.bridge import settings
from rszsl_processing.core.doctor import diagnose


class DoctorAlgorithm(RszslAlgorithm):
    """Never fails: what is wrong is what it reports."""

    NAME, TITLE = "doctor", "Doctor"
    GROUP = ("setup", "Models and set-up")
    SHORT = "Says which rszsl runs, how it was found, its version, models and GPU, and what to do"
    TAGS = ("diagnose", "check", "gpu", "cuda", "installation", "executable", "troubleshooting")
    HELP = (
        "Looks for the rszsl command in the setting, the environment variable RSZSL_EXECUTABLE, the PATH and the usual "
        "places, asks it for its version and models, and looks for a GPU. The log says what was found and what to do."
    )

    def initAlgorithm(self, configuration: Parameters | None = None) -> None:
        """Declare the outputs."""
        outputs = {
            "STATUS": "ready, or not ready", "EXECUTABLE": "Executable", "VERSION": "Version", "GPU": "GPU",
            "ADVICE": "What to do", "REPORT": "Report",
        }  # fmt: skip
        for name, title in outputs.items():
            self.addOutput(QgsProcessingOutputString(name, title))

    def work(
        self, parameters: Parameters, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> Parameters:
        """Look at everything."""
        search = settings.search()
        report = diagnose(search, settings.environment_for(search.found.path if search.found else ""))
        for line in report.lines:
            feedback.pushInfo(line)
        for line in report.advice:
            feedback.pushWarning(line)
        status = "ready" if report.ready else "not ready"
        feedback.pushInfo(f"rszsl is {status}")
        return {
            "STATUS": status,
            "EXECUTABLE": report.executable,
            "VERSION": report.version,
            "GPU": report.gpu,
            "ADVICE": "\n".join(report.advice),
            "REPORT": report.text,
        }
