"""The generated layer of `azureml-core` 0.1.50 (2018), unmodified: runs, metrics, events and experiments of a workspace, and at the exact
addresses of experimentation projects, whose part of the address is put into its templates."""

import inspect
import os
from datetime import datetime, timezone

import requests
from azureml._restclient import models
from azureml._restclient.rest_client import RestClient
from checks import check, finish
from msrest.authentication import BasicTokenAuthentication
from msrest.exceptions import HttpOperationError

ENDPOINT = os.environ["HABEAS_TEST_ENDPOINT"]
PERSON, TOKEN, OTHER_TOKEN = (os.environ[f"HABEAS_TEST_{name}"] for name in ("PERSON", "TOKEN", "OTHER_TOKEN"))
GROUP = f"/subscriptions/{PERSON}/resourceGroups/Trees/providers"
SERVICES = "Microsoft.MachineLearningServices/workspaces/{workspaceName}"
EXPERIMENTATION = "Microsoft.MachineLearningExperimentation/accounts/Maples/workspaces/{workspaceName}"
NOW = datetime(2026, 1, 15, 8, 42, 2, tzinfo=timezone.utc)


def make(path, version, body):
    answer = requests.put(f"{ENDPOINT}{GROUP}/{path}?api-version={version}", json=body, headers={"Authorization": f"Bearer {TOKEN}"})
    check(f"made {path}: {answer.text}", answer.status_code in (200, 201))


def prepare():
    make("Microsoft.MachineLearningServices/workspaces/Wood", "2018-03-01-preview", {"location": "here"})
    storage = {"storageAccountId": "/subscriptions/s", "accessKey": "k"}
    account = "Microsoft.MachineLearningExperimentation/accounts/Maples"
    for path, properties in [
        (account, {"vsoAccountId": "/subscriptions/v", "keyVaultId": "/subscriptions/k", "storageAccount": storage}),
        (f"{account}/workspaces/Woods", {"friendlyName": "Wood"}),
        (f"{account}/workspaces/Woods/projects/Leaves", {"friendlyName": "Leaves"}),
    ]:
        make(path, "2017-05-01-preview", {"location": "here", "properties": properties})


def readdress(client):
    """Puts the address of experimentation workspaces into the templates of all operations."""
    for group in vars(client).values():
        for _, operation in inspect.getmembers(type(group), inspect.isfunction):
            metadata = getattr(operation, "metadata", None)
            if metadata:
                metadata["url"] = metadata["url"].replace(SERVICES, EXPERIMENTATION)


def refused(name, status, call):
    try:
        call()
        check(f"{name}: not refused", False)
    except HttpOperationError as error:
        check(f"{name}: {error}", error.response.status_code == status)


def project(client, workspace, name):
    """Runs without an experiment, as Workbench had them."""
    place = (PERSON, "Trees", workspace, name)
    run = client.legacy_run.create(*place, models.CreateRunDto(run_id="first", name="n", status="Running", tags={"a": "b"}, target="local"))
    check("made", (run.run_id, run.run_number, run.status, run.tags, run.user_id) == ("first", 1, "Running", {"a": "b"}, PERSON))
    run = client.legacy_run.add_or_modify(*place, models.CreateRunDto(run_id="first", description="d"))
    check("changed", (run.description, run.name) == ("d", "n"))
    run = client.legacy_run.update(*place, "first", models.ModifyRunDto(properties={"lr": "0.1"}))
    check("changed again", run.properties == {"lr": "0.1"})
    check("in part", client.legacy_run.patch(*place, "first", models.ModifyRunDto(hidden=False, tags={"c": "d"})).tags == {"a": "b", "c": "d"})
    child = client.legacy_run.create_child(*place, "first", models.CreateRunDto(run_id="second"))
    check("a child", (child.parent_run_id, child.root_run_id, child.status) == ("first", "first", "NotStarted"))
    check("children", [one.run_id for one in client.legacy_run.get_child(*place, "first").value] == ["second"])
    listed = client.legacy_run.list(*place, filter="(ParentRunId eq null)", orderby=["CreatedUtc"], sortorder="Desc", top=10, count=True)
    check("listed", ([one.run_id for one in listed.value], listed.count, listed.continuation_token) == (["first"], 1, None))
    page = client.legacy_run.list(*place, top=1)
    rest = client.legacy_run.list(*place, continuationtoken=page.continuation_token)
    check("in pages", [one.run_id for one in page.value + rest.value] == ["second", "first"])
    token = client.legacy_run.get_token(*place, "first")
    check("a token", token.token == TOKEN and token.expiry_time_utc > NOW)
    cells = [{"acc": 0.5}]
    schema = models.MetricSchemaDto(num_properties=1, properties=[models.MetricSchemaPropertyDto(property_id="acc", name="acc", type="float")])
    metric = models.RunMetricDto(run_id="first", metric_id="m", metric_type="azureml.v1.scalar", created_utc=NOW, name="acc", num_cells=1, cells=cells, schema=schema)
    client.legacy_runmetric.post(*place, "first", metric)
    found = client.legacy_runmetric.list(*place, filter="RunId eq first").value
    check("a metric", [(one.name, one.cells, one.metric_type) for one in found] == [("acc", cells, "azureml.v1.scalar")])
    check("by its id", client.legacy_runmetric.get(*place, found[0].metric_id).cells == cells)
    client.legacy_events.post(*place, "first", models.BaseEvent(timestamp=NOW, name="Microsoft.MachineLearning.Run.Completed", data={"RunId": "first", "EndTime": "2026-01-15T09:00:00Z"}))
    check("an event", [one.name for one in client.legacy_events.list(*place, "first").value] == ["Microsoft.MachineLearning.Run.Completed"])
    status = client.legacy_run.get_status(*place, "first")
    check("its state", (status.status, status.end_time_utc.hour) == ("Completed", 9))
    counts = client.legacy_run.get_counts(*place)
    check("counted", (counts.completed, counts.not_started, counts.failed) == (1, 1, 0))
    check("read", client.legacy_run.get(*place, "first").properties == {"lr": "0.1"})
    refused("none", 404, lambda: client.legacy_run.get(*place, "none"))


def workspace(client, name):
    """Runs of an experiment."""
    place = (PERSON, "Trees", name)
    check("experiments", [one.name for one in client.experiment.list(*place).value] == ["Default"])
    check("one of them", client.experiment.get(*place, "Default").experiment_id is not None)
    place += ("Default",)
    run = client.run.patch(*place, "third", models.CreateRunDto(run_id="third", run_type="job", script_name="train.py"))
    check("made", (run.run_id, run.script_name) == ("third", "train.py"))
    check("changed", client.run.update(*place, "third", models.ModifyRunDto(target="local")).target == "local")
    check("read", client.run.get(*place, "third").run_type == "job")
    check("listed", "third" in [one.run_id for one in client.run.list(*place, filter="(RunType eq job or Properties/azureml.runsource eq job)").value])
    client.run_metric.post(*place, "third", models.RunMetricDto(metric_id="l", metric_type="azureml.v1.list", created_utc=NOW, name="list", cells=[{"list": 1}, {"list": 2}]))
    check("a list", client.run_metric.get(*place, "l").cells == [{"list": 1}, {"list": 2}])
    check("of its own", len(client.run_metric.list(*place, filter="RunId eq third").value) == 1)
    client.events.post(*place, "third", models.BaseEventDto(timestamp=NOW, name="Microsoft.MachineLearning.Run.Start", data={"RunId": "third"}))
    check("begun", client.run.get_details(*place, "third").status == "Running")
    check("told", len(client.events.list(*place, "third").value) == 1)
    check("childless", client.run.get_child(*place, "third").value == [])
    check("its token", client.run.get_token(*place, "third").token == TOKEN)
    check("counted", client.run.get_counts(*place).running == 1)


def client(token):
    return RestClient(BasicTokenAuthentication({"access_token": token}), base_url=ENDPOINT)


prepare()
owner = client(TOKEN)
project(owner, "Wood", "any")
workspace(owner, "Wood")
readdress(owner)
project(owner, "Woods", "Leaves")
refused("a stranger", 404, lambda: client(OTHER_TOKEN).legacy_run.list(PERSON, "Trees", "Woods", "Leaves"))
finish("azureml-core 0.1.50, generated layer")
