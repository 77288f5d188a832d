"""What stands in the way of a run: executable, version, models, GPU, and what to do."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from rszsl_processing.core.discovery import Search, python_beside
from rszsl_processing.core.errors import PluginError
from rszsl_processing.core.process import run_briefly
from rszsl_processing.core.version import checked_version

ASK_TORCH = (
    "import json, sys, torch; c = torch.cuda.is_available(); print(json.dumps({"
    "'python': sys.version.split()[0], 'torch': torch.__version__, 'cuda': torch.version.cuda, "
    "'gpu': torch.cuda.get_device_name(0) if c else None}))"
)


@dataclass
class Diagnosis:
    """What was found. `advice` is empty where nothing is to be done."""

    executable: str = ""
    version: str = ""
    gpu: str = ""
    ready: bool = False
    lines: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The report."""
        return "\n".join(self.lines + [f"advice: {line}" for line in self.advice])


def diagnose(search: Search, env: dict[str, str]) -> Diagnosis:
    """Look at everything; a thing that is missing is a line of the report, never an error."""
    report = Diagnosis()
    for place in search.places:
        report.lines.append(f"{'found' if place.found else 'not there'}: {place.path} ({place.how})")
    if search.found is None:
        report.advice.append(search.problem)
        return report
    report.executable = search.found.path
    try:
        report.version = checked_version(report.executable, env)
    except PluginError as err:
        report.advice.append(str(err))
        return report
    report.lines.append(f"version: rszsl {report.version}")
    _look_at_models(report, env)
    _look_at_gpu(report, env)
    return report


def _look_at_models(report: Diagnosis, env: dict[str, str]) -> None:
    code, out, err = run_briefly([report.executable, "models", "list"], env, timeout_s=60)
    models = [" ".join(line.split("\t")) for line in out.splitlines() if line.strip()]
    report.lines += [f"model: {model}" for model in models]
    report.ready = code == 0 and bool(models)
    if not report.ready:
        report.advice.append(
            f"rszsl has no model that it can read; reinstall it ({(err.splitlines() or ['no model'])[-1]})"
        )


def _look_at_gpu(report: Diagnosis, env: dict[str, str]) -> None:
    driver = _driver_gpus(env)
    report.lines.append(f"GPU by nvidia-smi: {', '.join(driver) or 'none'}")
    torch = _torch_of(report.executable, env)
    if torch is None:
        report.lines.append("torch: not asked (no Python beside the executable, or it has no torch)")
        report.gpu = ", ".join(driver)
        return
    report.gpu = torch.get("gpu") or ""
    cuda = f"CUDA {torch['cuda']}" if torch.get("cuda") else "CPU only"
    report.lines.append(f"torch: {torch['torch']} ({cuda}), Python {torch['python']}, GPU {report.gpu or 'none'}")
    if driver and not report.gpu:
        report.advice.append(f"there is a GPU ({driver[0]}) that this torch cannot use; install a CUDA build of torch")


def _driver_gpus(env: dict[str, str]) -> list[str]:
    ask = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    code, out, _ = run_briefly(ask, env, timeout_s=10)
    return [line.strip() for line in out.splitlines() if line.strip()] if code == 0 else []


def _torch_of(executable: str, env: dict[str, str]) -> dict[str, str] | None:
    python = python_beside(executable)
    if python is None:
        return None
    code, out, _ = run_briefly([python, "-c", ASK_TORCH], env, timeout_s=60)
    try:
        return json.loads(out.splitlines()[-1]) if code == 0 else None
    except (ValueError, IndexError):
        return None
