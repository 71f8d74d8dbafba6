"""Models, images and services of `azureml-core`: from a file of a run to a service that answers."""

import json
import os
import tempfile
from pathlib import Path

import requests
from azureml._restclient.assets_client import AssetsClient
from azureml.core import Model
from azureml.core.resource_configuration import ResourceConfiguration
from azureml.core.webservice import AciWebservice, AksWebservice, Webservice
from azureml.exceptions import WebserviceException
from checks import check


def field(tag, *parts):
    """A field of a protocol buffer that holds bytes."""
    data = b"".join(parts)
    return bytes([tag << 3 | 2, len(data)]) + data


def number(tag, value):
    return bytes([tag << 3, value])


def graph():
    """An ONNX graph of two inputs of three numbers each, and their sum."""

    def value(name):
        tensor = number(1, 1) + field(2, field(1, number(1, 3)))
        return field(1, name) + field(2, field(1, tensor))

    node = field(1, b"a") + field(1, b"b") + field(2, b"y") + field(4, b"Add")
    inside = field(1, node) + field(2, b"sum") + field(11, value(b"a")) + field(11, value(b"b")) + field(12, value(b"y"))
    return number(1, 8) + field(7, inside) + field(8, number(2, 13))


def stored(endpoint, scope, token):
    """A file of a run, by MLflow's API; the prefix by which an asset names it."""
    headers = {"Authorization": f"Bearer {token}"}
    base = f"{endpoint}/mlflow/v2.0{scope}/api/2.0"
    run = requests.post(f"{base}/mlflow/runs/create", json={"experiment_id": "0"}, headers=headers).json()["run"]["info"]["run_id"]
    path = f"{base}/mlflow-artifacts/artifacts/0/{run}/artifacts/outputs/sum.onnx"
    check("a graph", requests.put(path, data=graph(), headers=headers).status_code == 200)
    return run, f"ExperimentRun/dcid.{run}/outputs/sum.onnx"


def missing(what, call):
    try:
        call()
        check(what, False)
    except WebserviceException:
        check(what, True)


def models(workspace, endpoint, scope, token):
    run, prefix = stored(endpoint, scope, token)
    asset = AssetsClient(workspace.service_context).create_asset("sum", [{"prefix": prefix}], None, run_id=run)
    more = {"tags": {"kind": "sum"}, "properties": {"origin": "field"}, "description": "adds", "run_id": run, "experiment_name": "Default"}
    model = Model._register_with_asset(
        workspace,
        "sum",
        asset.id,
        model_framework=Model.Framework.ONNX,
        model_framework_version="1.6",
        resource_configuration=ResourceConfiguration(cpu=1, memory_in_gb=0.5),
        **more,
    )
    check("its name", (model.name, model.version, model.id) == ("sum", 1, "sum:1"))
    check("what it says", (model.tags, model.properties, model.description, model.run_id) == ({"kind": "sum"}, {"origin": "field"}, "adds", run))
    Model._register_with_asset(workspace, "sum", asset.id, model_framework=Model.Framework.ONNX, **more)
    check("the newest", Model(workspace, name="sum").version == 2)
    check("an older one", Model(workspace, name="sum", version=1).id == "sum:1")
    check("all", [one.id for one in Model.list(workspace) if one.name == "sum"] == ["sum:2", "sum:1"])
    check("by tag", [one.id for one in Model.list(workspace, tags=[["kind", "sum"]], latest=True)] == ["sum:2"])
    check("none", Model.list(workspace, tags=["other"]) == [])
    missing("one that is not there", lambda: Model(workspace, name="other"))
    model.add_tags({"more": "1"})
    model.add_properties({"later": "2"})
    model.update(description="changed")
    changed = Model(workspace, id="sum:1")
    check("changed", (changed.tags, changed.properties) == ({"kind": "sum", "more": "1"}, {"origin": "field", "later": "2"}))
    check("described anew", changed.description == "changed")
    return model


def registered(workspace, experiment):
    """Models as scripts register them: from a file of their run, and from one of their own; downloaded again, and asked."""
    folder = Path(tempfile.mkdtemp())
    (folder / "sum.onnx").write_bytes(graph())
    # The client takes files below the working directory only.
    os.chdir(folder)
    run = experiment.start_logging(snapshot_directory=None)
    run.upload_file("outputs/sum.onnx", "sum.onnx")
    of_run = run.register_model("of-run", model_path="outputs/sum.onnx", model_framework=Model.Framework.ONNX)
    run.complete()
    check("of a run", (of_run.name, of_run.version, of_run.run_id) == ("of-run", 1, run.id))
    local = Model.register(workspace, model_path="sum.onnx", model_name="local", model_framework=Model.Framework.ONNX)
    for model in (of_run, local):
        found = model.download(target_dir=str(folder / model.name))
        check(f"downloaded {model.name}", Path(found).read_bytes() == graph())
        settings = AciWebservice.deploy_configuration(cpu_cores=1, memory_gb=1)
        service = Model.deploy(workspace, f"{model.name}-service", [model], deployment_config=settings)
        service.wait_for_deployment()
        check(f"asked {model.name}", service.run(json.dumps({"a": [1, 2, 3], "b": [0.5, 0, -3]})) == {"y": [1.5, 2.0, 0.0]})
        service.delete()
        model.delete()
    # What a script prints, the client appends to a log of the run.
    with experiment.start_logging(snapshot_directory=None) as told:
        print("one line of output")
    check("its output", "one line of output" in told.get_details_with_logs()["logFiles"]["logs/user_log.txt"])


def services(workspace, model):
    settings = AciWebservice.deploy_configuration(cpu_cores=1, memory_gb=1, auth_enabled=True, tags={"for": "all"}, description="adds")
    service = Model.deploy(workspace, "adder", [model], deployment_config=settings)
    service.wait_for_deployment()
    check(f"it is {service.state}", service.state == "Healthy")
    check("what it is made from", [one.id for one in service.models] == [model.id])
    asked = json.dumps({"a": [1, 2, 3], "b": [0.5, 0, -3]})
    check("its answer", service.run(asked) == {"y": [1.5, 2.0, 0.0]})
    keys = service.get_keys()
    service.regen_key("Primary")
    check("a new key", service.get_keys()[0] != keys[0] and service.get_keys()[1] == keys[1])
    check("its answer to the new key", service.run(asked) == {"y": [1.5, 2.0, 0.0]})
    service.update(description="adds still", tags={"for": "some"})
    found = Webservice(workspace, "adder")
    check("changed", (type(found), found.description, found.tags) == (AciWebservice, "adds still", {"for": "some"}))
    check("listed", [one.name for one in Webservice.list(workspace, model_id=model.id)] == ["adder"])
    check("its log", "No container" in found.get_logs())
    missing("a model in use", model.delete)
    service.delete()
    missing("gone", lambda: Webservice(workspace, "adder"))
    model.delete()
    missing("the model, too", lambda: Model(workspace, id=model.id))
    check("a type of service", AksWebservice._webservice_type == "AKS")
