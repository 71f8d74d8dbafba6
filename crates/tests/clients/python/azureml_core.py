"""Microsoft's `azureml-core`, unmodified: what a training script of the Azure ML era does, from the workspace to the deletion of its experiment."""

import json
import os
import tempfile
from pathlib import Path

import loopback

ENDPOINT = os.environ["HABEAS_TEST_ENDPOINT"]
PERSON, TOKEN, OTHER_TOKEN = (os.environ[f"HABEAS_TEST_{name}"] for name in ("PERSON", "TOKEN", "OTHER_TOKEN"))
# The client reads these when it is imported, and keeps what it found in its home directory.
os.environ.update(
    ARM_CLOUD_METADATA_URL=f"{ENDPOINT}/metadata/endpoints",
    AZUREML_CURRENT_CLOUD="Habeas",
    HOME=tempfile.mkdtemp(),
    AZUREML_METRICS_POLLING_INTERVAL="1",
)
loopback.start()

import requests  # noqa: E402
from azureml.core import Datastore, Experiment, Model, Run, Workspace  # noqa: E402
from azureml.core.authentication import ArmTokenAuthentication  # noqa: E402
from azureml.core.compute import AmlCompute, ComputeInstance, ComputeTarget, RemoteCompute  # noqa: E402
from azureml_models import models, registered, services  # noqa: E402
from checks import check, finish  # noqa: E402

GROUP, NAME = "Trees", "Forest"
SCOPE = f"/subscriptions/{PERSON}/resourceGroups/{GROUP}/providers/Microsoft.MachineLearningServices/workspaces/{NAME}"


def workspace(token):
    return Workspace(PERSON, GROUP, NAME, auth=ArmTokenAuthentication(token, cloud="Habeas"))


def prepare():
    answer = requests.put(f"{ENDPOINT}{SCOPE}?api-version=2020-08-01", json={"location": "here"}, headers={"Authorization": f"Bearer {TOKEN}"})
    check("a workspace", answer.status_code in (200, 201))
    found = workspace(TOKEN)
    check("found", (found.name, found.resource_group, found.subscription_id) == (NAME, GROUP, PERSON))
    check("its place", found.location == "here")
    check("among all", NAME in Workspace.list(PERSON, auth=ArmTokenAuthentication(TOKEN, cloud="Habeas")))
    found.sync_keys()
    try:
        workspace(OTHER_TOKEN)
        check("a stranger's", False)
    except Exception as error:
        check(f"a stranger's: {error}", "subscription" in str(error).lower())
    return found


def logging(experiment):
    """Numbers, lists, tables and rows; tags and properties."""
    run = experiment.start_logging(snapshot_directory=None, display_name="first")
    check("running", run.get_status() == "Running")
    check("its number", run.number == 2)
    for value in (2, 1.5, float("nan"), 1.5):
        run.log("loss", value)
    for step in range(3):
        run.log("acc", step / 4, step=step)
    run.log("note", "a text")
    run.log("flag", True)
    run.log_list("list", [1, 2, 3])
    run.log_row("row", x=1, y=0.5)
    run.log_row("row", x=2, y=0.25)
    run.log_table("table", {"x": [1, 2], "y": ["a", "b"]})
    run.tag("kind", "oak")
    run.tag("empty")
    run.set_tags({"season": "spring"})
    run.add_properties({"author": "ada"})
    run.description = "what was tried"
    run.flush()
    metrics = run.get_metrics()
    check(f"numbers: {metrics.get('loss')}", str(metrics["loss"]) == "[2.0, 1.5, nan, 1.5]")
    check("counted", metrics["acc"] == [0.0, 0.25, 0.5])
    check("texts", (metrics["note"], metrics["flag"]) == ("a text", True))
    check("a list", metrics["list"] == [1, 2, 3])
    check("rows", metrics["row"] == {"x": [1, 2], "y": [0.5, 0.25]})
    check("a table", metrics["table"] == {"x": [1, 2], "y": ["a", "b"]})
    check("one of them", run.get_metrics(name="acc") == {"acc": [0.0, 0.25, 0.5]})
    check("tags", (run.get_tags()["kind"], run.get_tags()["season"]) == ("oak", "spring"))
    check("properties", run.get_properties()["author"] == "ada")
    run.remove_tags(["season"])
    check("a tag less", "season" not in run.get_tags())
    check("its name", (run.display_name, run.description) == ("first", "what was tried"))
    return run


#: A picture of one pixel.
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c63f8cfc0f01f0005000201a5f645400000000049454e44ae426082"
)


def charts(run):
    """Metrics whose values lie in files."""

    def shape(sort, **data):
        return {"schema_type": sort, "schema_version": "1.0.0", "data": data}

    matrix = shape("confusion_matrix", class_labels=["oak", "elm"], matrix=[[3, 1], [0, 4]])
    run.log_confusion_matrix("matrix", matrix)
    run.log_accuracy_table("accuracy", shape("accuracy_table", class_labels=["0"], probability_tables=[[[1, 0, 0, 1]]], probability_thresholds=[0.5], percentile_tables=[[[1, 0, 0, 1]]], percentile_thresholds=[0.5]))
    run.log_predictions("predictions", shape("predictions", bin_averages=[0.25], bin_errors=[0.1], bin_counts=[1], bin_edges=[0, 1]))
    run.log_residuals("residuals", shape("residuals", bin_edges=[0, 1], bin_counts=[1]))
    # Its path is its name among the run's files.
    os.chdir(tempfile.mkdtemp())
    picture = "pixel.png"
    Path(picture).write_bytes(PIXEL)
    run.log_image("picture", path=picture)
    Path("plots").mkdir()
    Path("plots/dot.png").write_bytes(PIXEL)
    run.log_image("dotted", path="./plots/dot.png")
    run.flush()
    metrics = run.get_metrics(populate=True)
    check("a matrix", json.loads(metrics["matrix"].data) == matrix)
    check("the others", {"accuracy", "predictions", "residuals"} <= set(metrics))
    check("pictures", (metrics["picture"].data, metrics["dotted"].data) == (PIXEL, PIXEL))


def files(run):
    """Files of a run, sent and fetched."""
    folder = Path(tempfile.mkdtemp())
    (folder / "model.txt").write_text("weights", encoding="utf-8")
    (folder / "part").mkdir()
    (folder / "part" / "two.txt").write_text("two", encoding="utf-8")
    run.upload_file("outputs/model.txt", str(folder / "model.txt"))
    run.upload_folder("all", str(folder))
    odd = "outputs/epoch=3 (1) 100%@ü.txt"
    for name in (odd, "./dot/x.txt", "/above/x.txt", "double//x.txt"):
        run.upload_file(name, str(folder / "model.txt"))
    names = run.get_file_names()
    check(f"files: {names}", {"outputs/model.txt", "all/model.txt", "all/part/two.txt"} <= set(names))
    check("of any name", {odd, "dot/x.txt", "above/x.txt", "double/x.txt"} <= set(names))
    run.download_file(odd, str(folder / "odd.txt"))
    check("fetched by it", (folder / "odd.txt").read_text(encoding="utf-8") == "weights")
    fetched = folder / "fetched.txt"
    run.download_file("outputs/model.txt", str(fetched))
    check("fetched", fetched.read_text(encoding="utf-8") == "weights")
    run.download_files(prefix="all", output_directory=str(folder / "again"))
    check("a folder", (folder / "again" / "all" / "part" / "two.txt").read_text(encoding="utf-8") == "two")
    (folder / "log.txt").write_text("epoch 1", encoding="utf-8")
    run.upload_file("azureml-logs/70_driver_log.txt", str(folder / "log.txt"))
    logs = run.get_details_with_logs()["logFiles"]
    check(f"logs: {logs}", logs.get("azureml-logs/70_driver_log.txt") == "epoch 1")


def snapshot(experiment):
    """The script and its folder, as the default of `start_logging` keeps them."""
    folder = Path(tempfile.mkdtemp())
    (folder / "train.py").write_text("print('trees')", encoding="utf-8")
    run = experiment.start_logging(snapshot_directory=str(folder))
    kept = run.get_snapshot_id()
    check("a snapshot", kept is not None and run.get_properties()["ContentSnapshotId"] == kept)
    archive = run.restore_snapshot(kept, path=tempfile.mkdtemp())
    check(f"brought back: {archive}", archive is not None)
    run.complete()
    return run


def registry(found, run):
    """A model of the run's files."""
    model = run.register_model("oak", model_path="outputs/model.txt", tags={"kind": "tree"}, description="of the run")
    check("a model", (model.name, model.version, model.tags, model.run_id) == ("oak", 1, {"kind": "tree"}, run.id))
    check("a second version", run.register_model("oak", model_path="outputs/model.txt").version == 2)
    check("listed", [(one.name, one.version) for one in Model.list(found, name="oak", latest=True)] == [("oak", 2)])
    check("by version", Model(found, "oak", version=1).description == "of the run")
    fetched = model.download(target_dir=tempfile.mkdtemp(), exist_ok=True)
    check(f"fetched: {fetched}", Path(fetched).read_text(encoding="utf-8") == "weights")
    model.delete()
    check("deleted", [one.version for one in Model.list(found, name="oak")] == [2])


def children(run):
    """Runs of a run."""
    child = run.child_run("fold 1")
    child.log("acc", 1)
    grandchild = child.child_run("inner")
    grandchild.complete()
    child.complete()
    batch = run.create_children(count=3)
    for one in batch:
        one.fail(error_details="made to fail")
    check("of one's own", {one.id for one in run.get_children()} == {child.id, *(one.id for one in batch)})
    check("and of theirs", len(list(run.get_children(recursive=True))) == 5)
    check("by state", {one.id for one in run.get_children(status="Failed")} == {one.id for one in batch})
    check("above", (child.parent.id, grandchild.parent.id) == (run.id, child.id))
    check("of all of them", run.get_metrics(recursive=True)[child.id] == {"acc": 1.0})
    return child


def ends(experiment, run):
    run.complete()
    check("completed", run.get_status() == "Completed")
    details = run.get_details()
    check("details", (details["runId"], details["status"], details["properties"]["author"]) == (run.id, "Completed", "ada"))
    check("its times", details["startTimeUtc"] <= details["endTimeUtc"])
    failed = experiment.start_logging(snapshot_directory=None)
    failed.fail(error_details="out of memory", error_code="Memory")
    details = failed.get_details()
    check("failed", details["status"] == "Failed")
    check(f"why: {details.get('error')}", "out of memory" in str(details["error"]))
    cancelled = experiment.start_logging(snapshot_directory=None)
    cancelled.cancel()
    check("cancelled", cancelled.get_status() == "Canceled")
    return failed, cancelled


def lists(found, experiment, kept, run, failed, cancelled):
    ids = lambda runs: [one.id for one in runs]  # noqa: E731
    check("newest first", ids(experiment.get_runs()) == [cancelled.id, failed.id, run.id, kept.id])
    check("with their parts", len(ids(experiment.get_runs(include_children=True))) == 9)
    check("by tag", ids(experiment.get_runs(tags={"kind": "oak"})) == [run.id])
    check("by a tag's name", ids(experiment.get_runs(tags="kind")) == [run.id])
    check("by property", ids(experiment.get_runs(properties={"author": "ada"})) == [run.id])
    check("by state", ids(Run.list(experiment, status="Failed")) == [failed.id])
    check("with their parts by state", len(ids(Run.list(experiment, status="Failed", include_children=True))) == 4)
    again = Run(experiment, run.id)
    check("again", again.get_metrics(name="acc") == {"acc": [0.0, 0.25, 0.5]})
    check("by the workspace", found.get_run(run.id).id == run.id)


def experiments(found, experiment):
    check("listed", set(found.experiments) == {"Default", experiment.name})
    experiment.set_tags({"team": "forest"})
    experiment.tag("more", "x")
    experiment.remove_tags(["more"])
    check("tags", Experiment(found, experiment.name).tags == {"team": "forest"})
    check("by tag", [one.name for one in Experiment.list(found, tags={"team": "forest"})] == [experiment.name])
    experiment.archive()
    check("archived", experiment.archived_time is not None and "leaves" not in found.experiments)
    check("and listed so", [one.name for one in Experiment.list(found, view_type="ArchivedOnly")] == ["leaves"])
    experiment.reactivate()
    check("back", "leaves" in found.experiments)
    identifier = experiment.id
    Experiment.delete(found, identifier)
    check("deleted", "leaves" not in found.experiments)
    try:
        Experiment.delete(found, identifier)
        check("twice", False)
    except Exception:
        check("twice", True)


def computes(found):
    """Records of machines: asked for, attached, listed, detached."""
    asked = ComputeTarget.create(found, "cpus", AmlCompute.provisioning_configuration(vm_size="STANDARD_D2_V2", max_nodes=4))
    check("a cluster", (asked.name, asked.vm_size, asked.provisioning_state) == ("cpus", "STANDARD_D2_V2", "Succeeded"))
    check("its scale", (asked.scale_settings.minimum_node_count, asked.scale_settings.maximum_node_count) == (0, 4))
    machine = "/subscriptions/x/resourceGroups/y/providers/Microsoft.Compute/virtualMachines/saw"
    config = RemoteCompute.attach_configuration(username="user", resource_id=machine, ssh_port=22, password="a secret")
    attached = ComputeTarget.attach(found, "saws", config)
    attached.wait_for_completion()
    check("attached", (attached.cluster_resource_id, attached.provisioning_state) == (machine, "Succeeded"))
    check("by name", type(ComputeTarget(found, "cpus")) is AmlCompute and type(ComputeTarget(found, "saws")) is RemoteCompute)
    check("listed", set(found.compute_targets) == {"cpus", "saws"})
    attached.detach()
    check("detached", set(found.compute_targets) == {"cpus"})
    try:
        ComputeTarget(found, "saws")
        check("gone", False)
    except Exception as error:
        check(f"gone: {error}", "ComputeTargetNotFound" in str(error))
    desk = ComputeTarget.create(found, "desk", ComputeInstance.provisioning_configuration(vm_size="STANDARD_D2_V2"))
    check("an instance", (desk.name, desk.vm_size) == ("desk", "STANDARD_D2_V2"))


def datastores(found):
    """Notes of where data is kept: made, refused, overwritten where that is asked for."""

    def register(account, **more):
        return Datastore.register_azure_blob_container(found, "images", "pictures", account, account_key="a2V5", **more)

    check("a datastore", register("leaves").account_name == "leaves")
    for flags in ({}, {"create_if_not_exists": True}):
        try:
            register("roots", **flags)
            check("twice", False)
        except Exception as error:
            check(f"twice: {error}", "already exists" in str(error))
    check("as it was", Datastore.get(found, "images").account_name == "leaves")
    check("overwritten", register("roots", overwrite=True).account_name == "roots")
    Datastore.register_azure_file_share(found, "share", "leaves", "roots", account_key="a2V5")
    check("listed", set(found.datastores) == {"images", "share", "workspaceblobstore"})
    check("without its key", found.datastores["share"].account_key not in ("a2V5", None))


found = prepare()
computes(found)
datastores(found)
experiment = Experiment(found, "leaves")
kept = snapshot(experiment)
run = logging(experiment)
charts(run)
files(run)
registry(found, run)
children(run)
failed, cancelled = ends(experiment, run)
lists(found, experiment, kept, run, failed, cancelled)
experiments(found, experiment)
services(found, models(found, ENDPOINT, SCOPE, TOKEN))
registered(found, Experiment(found, "models"))
finish("azureml-core 1.61.0.post4")
