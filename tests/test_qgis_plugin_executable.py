"""The QGIS plugin without QGIS: where rszsl is found, how it is installed, asked for its version, and run."""

import os
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "qgis_plugin"))

from rszsl_processing.core import discovery, doctor, environment, install, process, version
from rszsl_processing.core.errors import PluginError


def executable(path, script="#!/bin/sh\nexit 0\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script)
    path.chmod(0o755)
    return path


def machine(home, **environ):
    return discovery.Machine(home, {"PATH": str(home / "empty"), **environ}, windows=False)


class TestEnvironment:
    def test_what_qgis_put_there_is_gone(self):
        dirty = dict.fromkeys(environment.REMOVED, "/qgis") | {"PATH": "/bin", "AWS_PROFILE": "me"}
        clean = environment.child_environment(dirty, "/home/me/rszsl", platform="posix")
        assert clean == {"PATH": "/bin", "AWS_PROFILE": "me", **environment.CHILD}

    def test_osgeo4w_leaves_the_path_of_others(self):
        dirty = {"OSGEO4W_ROOT": r"C:\OSGeo4W", "Path": r"C:\OSGeo4W\bin;C:\Windows", "PYTHONHOME": "x"}
        clean = environment.child_environment(dirty, r"C:\Users\me\rszsl.exe", platform="nt")
        assert clean["Path"] == r"C:\Windows"
        assert "PYTHONHOME" not in clean
        own = environment.child_environment(dirty, r"c:\osgeo4w\apps\Python312\Scripts\rszsl.exe", platform="nt")
        assert own["Path"] == dirty["Path"]
        assert own["PYTHONHOME"] == "x"

    def test_proxy(self):
        url = environment.proxy_url("HttpProxy", "proxy", "8080", "me@x", "p:w")
        assert url == "http://me%40x:p%3Aw@proxy:8080"
        assert environment.proxy_url("DefaultProxy", "proxy", "1") is None
        assert environment.proxy_url("HttpProxy", "", "1") is None
        got = environment.child_environment({"https_proxy": "mine"}, proxy=url)
        assert (got["HTTP_PROXY"], got["https_proxy"], "HTTPS_PROXY" in got) == (url, "mine", False)


class TestDiscovery:
    def test_order(self, tmp_path):
        on_path = executable(tmp_path / "p" / "rszsl")
        pipx = executable(tmp_path / ".local" / "bin" / "rszsl")
        conda = executable(tmp_path / "miniforge3" / "envs" / "geo" / "bin" / "rszsl")
        setting = executable(tmp_path / "set ting" / "bin" / "rszsl")
        variable = executable(tmp_path / "variable")
        here = machine(tmp_path, PATH=str(on_path.parent), RSZSL_EXECUTABLE=str(variable))

        def found(setting, here):
            place = discovery.find_executable(setting, here).found
            return (place.path, place.how) if place else None

        assert found(str(setting), here) == (str(setting), "setting")
        assert found(str(setting.parents[1]), here) == (str(setting), "setting")  # the environment's folder
        assert found("", here) == (str(variable), "RSZSL_EXECUTABLE")
        assert found("", machine(tmp_path, PATH=str(on_path.parent))) == (str(on_path), "PATH")
        assert found("", machine(tmp_path)) == (str(pipx), "pipx or uv tool")
        pipx.unlink()
        assert found("", machine(tmp_path)) == (str(conda), "conda")
        made = executable(discovery.default_environment(machine(tmp_path)) / "bin" / "rszsl")
        assert found("", machine(tmp_path)) == (str(made), "made by the plugin")

    def test_a_wrong_name_is_not_passed_over(self, tmp_path):
        executable(tmp_path / ".local" / "bin" / "rszsl")
        search = discovery.find_executable("/no/such/rszsl", machine(tmp_path))
        assert search.found is None
        assert "/no/such/rszsl" in search.problem
        assert "Install or update rszsl" in search.problem

    def test_windows_places(self, tmp_path):
        exe = executable(tmp_path / "osgeo" / "apps" / "Python312" / "Scripts" / "rszsl.exe")
        windows = discovery.Machine(tmp_path, {"OSGEO4W_ROOT": str(tmp_path / "osgeo"), "PATH": ""}, windows=True)
        assert discovery.find_executable("", windows).found.path == str(exe)
        assert str(discovery.default_environment(windows)).endswith("Local/rszsl/env")


def running_in_group(pgid):
    """Processes of a group that are not zombies: who reaps those is not ours to say."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, group = file.read_text().rpartition(")")[2].split()[:3]
        except OSError:  # ended meanwhile
            continue
        if int(group) == pgid and state != "Z":
            found.append(file.parent.name)
    return found


class TestProcess:
    def test_both_streams(self):
        code, out, err = process.run_briefly(
            [sys.executable, "-c", "import sys; print('ü'); print('e', file=sys.stderr); sys.exit(3)"],
            environment.child_environment(os.environ),
        )
        assert (code, out, err) == (3, "ü", "e")

    def test_missing_and_slow(self, tmp_path):
        assert process.run_briefly([str(tmp_path / "none")], {})[0] == 127
        assert process.run_briefly([sys.executable, "-c", "import time; time.sleep(60)"], {}, timeout_s=0.3)[0] == 124

    @pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for the processes in /proc")
    def test_the_whole_tree_ends(self):
        grandchild = (
            "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('up', flush=True); time.sleep(99)"
        )
        child = process.Child(
            [sys.executable, "-c", f"import subprocess, sys; subprocess.call([sys.executable, '-c', {grandchild!r}])"],
            dict(os.environ),
        )
        assert child.next_line(20) == ("out", "up")
        started_s = time.monotonic()
        child.end()
        assert time.monotonic() - started_s < 3
        time.sleep(0.1)
        assert not running_in_group(child.pid)


class TestVersion:
    @pytest.mark.parametrize(
        ("said", "word"), [("rszsl, version 0.0.1", "needs 0.1.0"), ("Hello 1.2", "is not rszsl"), ("", "is not rszsl")]
    )
    def test_wrong(self, tmp_path, said, word):
        with pytest.raises(PluginError, match=word):
            version.checked_version(str(executable(tmp_path / "x", f"#!/bin/sh\necho '{said}'\n")), {})

    def test_newer(self, tmp_path):
        path = executable(tmp_path / "x", "#!/bin/sh\necho 'rszsl, version 0.10.2'\n")
        assert version.checked_version(str(path), {}) == "0.10.2"

    def test_broken(self, tmp_path):
        path = executable(tmp_path / "x", "#!/bin/sh\necho 'error: no torch' >&2; exit 1\n")
        with pytest.raises(PluginError, match="does not run: no torch"):
            version.checked_version(str(path), {})


class TestDoctor:
    def test_nothing_there(self, tmp_path):
        report = doctor.diagnose(discovery.find_executable("", machine(tmp_path)), {})
        assert not report.ready
        assert "Install or update rszsl" in report.text
        assert "not there: " in report.text

    def test_a_gpu_that_torch_cannot_use(self, tmp_path):
        script = "#!/bin/sh\ncase $1 in --version) echo 'rszsl, version 1.0';; models) printf 'm\\t1\\n';; esac\n"
        found = discovery.Place(str(executable(tmp_path / "bin" / "rszsl", script)), "PATH", True)
        answer = '{"python": "3.12.1", "torch": "2.9+cpu", "cuda": null, "gpu": null}'
        executable(tmp_path / "bin" / "python", f"#!/bin/sh\necho '{answer}'\n")
        executable(tmp_path / "smi" / "nvidia-smi", "#!/bin/sh\necho 'NVIDIA H200, 143771 MiB'\n")
        old = os.environ["PATH"]
        os.environ["PATH"] = f"{tmp_path / 'smi'}:{old}"
        try:
            report = doctor.diagnose(discovery.Search((found,)), dict(os.environ))
        finally:
            os.environ["PATH"] = old
        assert report.ready
        assert "torch: 2.9+cpu (CPU only)" in report.text
        assert "there is a GPU (NVIDIA H200, 143771 MiB)" in report.text


class TestInstall:
    def test_pip_offline(self, tmp_path):
        wish = install.Wish(tmp_path / "env", "rszsl==0.1.0", wheels="/wheels", cpu_only=True)
        make, torch, rszsl = install.commands(wish, "/usr/bin/python3.11", None, machine(tmp_path))
        assert make == ["/usr/bin/python3.11", "-m", "venv", str(tmp_path / "env")]
        assert torch[-4:] == ["--no-index", "--find-links=/wheels", "torch", "torchvision"]
        assert rszsl[0] == str(tmp_path / "env" / "bin" / "python")
        assert rszsl[-4:] == ["--no-index", "--find-links=/wheels", "--upgrade", "rszsl==0.1.0"]

    def test_uv_can_fetch_a_python(self, tmp_path):
        make, pip = install.commands(install.Wish(tmp_path / "env"), None, "/bin/uv", machine(tmp_path))
        assert make == ["/bin/uv", "venv", "--python", ">=3.11", str(tmp_path / "env")]
        assert pip[:3] == ["/bin/uv", "pip", "install"]

    def test_an_update_makes_nothing(self, tmp_path):
        (tmp_path / "pyvenv.cfg").touch()
        (only,) = install.commands(install.Wish(tmp_path), None, None, machine(tmp_path))
        assert only[-2:] == ["--upgrade", "rszsl"]

    def test_no_python(self, tmp_path):
        with pytest.raises(PluginError, match=r"no Python 3\.11"):
            install.commands(install.Wish(tmp_path / "env"), None, None, machine(tmp_path))
        old = executable(tmp_path / "python", "#!/bin/sh\necho 3 9\n")
        with pytest.raises(PluginError, match=r"is no Python 3\.11"):
            install.find_python(str(old), machine(tmp_path), {})

    def test_a_folder_with_other_things(self, tmp_path):
        (tmp_path / "thesis.doc").touch()
        with pytest.raises(PluginError, match="is not empty"):
            install.check_folder(tmp_path)
