"""SLURM and Kubernetes, as far as they can be checked without one: the job script, the cluster's specification."""

import re
import shlex
from pathlib import Path

import pytest

GUIDE = (Path(__file__).resolve().parents[1] / "docs" / "DASK.md").read_text(encoding="utf-8")


def python_block(word):
    """The Python block of the guide that holds `word`."""
    (found,) = [block for block in re.findall(r"```python\n(.*?)```", GUIDE, flags=re.S) if word in block]
    return found


def test_slurm_job_script(monkeypatch):
    """The guide's own code, up to where jobs would be submitted."""
    pytest.importorskip("dask_jobqueue", reason="pip install 'rszsl[cluster]'")
    made = {}
    code, rest = python_block("SLURMCluster").split("cluster.scale")
    assert "map_scenes" in rest
    exec(compile(code, "docs/DASK.md", "exec"), made)
    try:
        script = made["cluster"].job_script()
    finally:
        made["cluster"].close()
    lines = script.splitlines()
    assert lines[0].startswith("#!")
    for wanted in ("#SBATCH --gres=gpu:1", "#SBATCH -t 04:00:00", "#SBATCH --cpus-per-task=4", "#SBATCH --mem=15G"):
        assert wanted in lines, script
    (worker,) = [shlex.split(line) for line in lines if "worker tcp://" in line]
    assert worker[worker.index("--nthreads") + 1] == "1" and worker[worker.index("--resources") + 1] == "GPU=1"
    assert "--nanny" in worker and "export OMP_NUM_THREADS=4" in lines


def test_a_machine_with_gpus_gets_a_process_for_each(monkeypatch):
    from rszsl.batch.cluster import local_workers

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    made = local_workers(2)
    assert [options["env"]["CUDA_VISIBLE_DEVICES"] for options in made.values()] == ["4", "6"]
    assert all(options["resources"] == {"GPU": 1} and options["nthreads"] == 1 for options in made.values())
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert len(local_workers(8, asked=3)) == 3 and len(local_workers(0, asked=2)) == 2
    assert all("resources" not in options for options in local_workers(0).values())


def test_a_local_cluster_looks_at_itself_rarely_unless_the_user_says_otherwise(monkeypatch):
    from rszsl.batch.cluster import CALM, calm

    assert calm() == CALM
    monkeypatch.setenv("DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL", "200ms")
    assert calm() == {name: value for name, value in CALM.items() if "monitor" not in name}


def test_settings_reach_the_processes_of_a_local_cluster():
    import dask.config

    from rszsl.batch.cluster import connected

    before = dask.config.get("distributed.admin.tick.interval")
    with connected("local", 1, "cpu") as client:
        client.wait_for_workers(1, timeout=200)
        (worker,) = client.run(
            lambda dask_worker: {k: v.callback_time for k, v in dask_worker.periodic_callbacks.items()}
        ).values()
        tick_ms = client.run_on_scheduler(
            lambda dask_scheduler: dask_scheduler.periodic_callbacks["tick"].callback_time
        )
    assert (worker["tick"], worker["monitor"], worker["profile"], tick_ms) == (1000, 5000, 500, 1000)
    assert dask.config.get("distributed.admin.tick.interval") == before


def test_kubernetes_specification():
    pytest.importorskip("dask_kubernetes", reason="pip install 'rszsl[cluster]'")
    made = {}
    exec(compile(python_block("make_cluster_spec").split("cluster = KubeCluster")[0], "docs/DASK.md", "exec"), made)
    spec = made["spec"]
    assert spec["kind"] == "DaskCluster" and spec["apiVersion"] == "kubernetes.dask.org/v1"
    (container,) = spec["spec"]["worker"]["spec"]["containers"]
    args = container["args"]
    assert args[:2] == ["dask", "worker"] and args[args.index("--resources") + 1] == "GPU=1"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    validate_against_operator(spec)


def validate_against_operator(spec):
    """By the operator's own resource definition, which the package carries."""
    import dask_kubernetes
    import yaml

    chart = Path(dask_kubernetes.__file__).parent / "operator/deployment/helm/dask-kubernetes-operator"
    file = chart / "crds" / "daskcluster.yaml"
    definition = yaml.safe_load(file.read_text(encoding="utf-8"))
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert list(faults(spec, schema)) == []
    worker = spec["spec"]["worker"]
    assert list(faults(spec | {"spec": {"worker": worker}}, schema)) == ["$.spec lacks scheduler"]
    many = spec | {"spec": spec["spec"] | {"worker": worker | {"replicas": "many"}}}
    assert list(faults(many, schema)) == ["$.spec.worker.replicas is no integer"]


KINDS = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}


def faults(value, schema, at="$"):
    """What of a value the part of OpenAPI that resource definitions use does not allow."""
    kind = KINDS.get(schema.get("type"))
    if value is None or "x-kubernetes-int-or-string" in schema:
        return
    if kind is not None and not isinstance(value, kind):
        yield f"{at} is no {schema['type']}"
    elif kind is dict:
        yield from (f"{at} lacks {key}" for key in schema.get("required", ()) if key not in value)
        for key, part in value.items():
            below = schema.get("properties", {}).get(key) or schema.get("additionalProperties")
            if isinstance(below, dict):
                yield from faults(part, below, f"{at}.{key}")
            elif "properties" in schema and at != "$" and not schema.get("x-kubernetes-preserve-unknown-fields"):
                yield f"{at} knows no {key}"
    elif kind is list:
        for i, part in enumerate(value):
            yield from faults(part, schema.get("items", {}), f"{at}[{i}]")
