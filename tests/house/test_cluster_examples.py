"""The examples of clusters: Slurm's script under a fake Slurm, Ray's file by Ray's schema, KubeRay's."""

import json
import os
from pathlib import Path

import jsonschema
import pytest
import yaml
from helpers import ROOT, run

ray = pytest.importorskip("ray", reason="Ray is not installed (the extra cluster)")

SRUN = """#!/bin/bash
for word in "$@"; do
  case "$word" in
    --nodelist=*) host="${word#*=}"; shift ;;
    --*) shift ;;
    *) break ;;
  esac
done
if [ "$1" = hostname ]; then echo "$host"; exit; fi
folder=()
[[ " $* " == *" --head "* ]] && folder=(--temp-dir "$FOLDER")
exec "$@" --object-store-memory=80000000 --include-log-monitor=false "${folder[@]}"
"""

SCONTROL = """#!/bin/bash
[ "$1 $2 $3" = "show hostnames nodes" ] && printf '127.0.0.4\\n127.0.0.5\\n'
"""

ASK = """
import ray
ray.init(log_to_driver=False)
print(sorted(node["NodeManagerAddress"] for node in ray.nodes()))
"""


@pytest.mark.slow
def test_slurms_script_starts_ray_on_all_hosts_runs_the_command_and_ends_ray(tmp_path, short_folder):
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    folder = short_folder / "slurm"
    variables = {
        "SLURM_JOB_NODELIST": "nodes", "SLURM_JOB_ID": str(os.getpid()), "FOLDER": str(folder),
    }  # fmt: skip
    script = f'PATH="{commands}:$PATH" examples/slurm.sh python -c "$ASK"'
    done = run("bash", "-c", script, cwd=ROOT, ASK=ASK, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "['127.0.0.4', '127.0.0.5']" in done.stdout
    left = run("pgrep", "-f", str(folder), cwd=ROOT).stdout
    assert left == "", "Ray has ended"


def test_rays_file_fits_rays_schema():
    schema = json.loads((Path(ray.__file__).parent / "autoscaler/ray-schema.json").read_text())
    jsonschema.validate(yaml.safe_load((ROOT / "examples/ray_up.yaml").read_text()), schema)


_GROUP = {
    "rayStartParams": {"type": "object", "additionalProperties": {"type": "string"}},
    "template": {"type": "object", "required": ["spec"]},
}
RAY_CLUSTER = {  # the part of KubeRay's types of version v1 that the manifest uses
    "required": ["headGroupSpec"],
    "properties": {
        "headGroupSpec": {
            "required": ["rayStartParams", "template"],
            "properties": _GROUP,
            "additionalProperties": False,
        },
        "workerGroupSpecs": {
            "items": {
                "required": ["groupName", "minReplicas", "maxReplicas", *_GROUP],
                "properties": {
                    "groupName": {"type": "string"},
                    **{key: {"type": "integer"} for key in ("replicas", "minReplicas", "maxReplicas")},
                    **_GROUP,
                },
                "additionalProperties": False,
            }
        },
    },
    "additionalProperties": False,
}


def test_the_manifest_has_what_kuberay_requires_and_no_field_that_it_does_not_know():
    manifest = yaml.safe_load((ROOT / "examples/kuberay.yaml").read_text())
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayCluster")
    jsonschema.validate(manifest["spec"], RAY_CLUSTER)
    head, (worker,) = manifest["spec"]["headGroupSpec"], manifest["spec"]["workerGroupSpecs"]
    assert worker["minReplicas"] <= worker["replicas"] <= worker["maxReplicas"]
    for group in (head, worker):
        (container,) = group["template"]["spec"]["containers"]
        assert container["name"] and container["image"]
    images = [group["template"]["spec"]["containers"][0]["image"] for group in (head, worker)]
    assert len({*images}) == 1, "equal versions of all libraries"
