"""`azureml-mlflow`, unmodified: MLflow's client with a workspace of Azure ML as its place; with it what `azureml-core` does with files and
source folders, and Azure's storage client."""

import os
import tempfile
import zipfile

import loopback

ENDPOINT = os.environ["HABEAS_TEST_ENDPOINT"]
PERSON, TOKEN = (os.environ[f"HABEAS_TEST_{name}"] for name in ("PERSON", "TOKEN"))
# The clients read these when they are imported, and keep what they found in the home directory.
os.environ.update(
    ARM_CLOUD_METADATA_URL=f"{ENDPOINT}/metadata/endpoints",
    AZUREML_CURRENT_CLOUD="Habeas",
    HOME=tempfile.mkdtemp(),
    SSL_CERT_FILE=os.environ.get("REQUESTS_CA_BUNDLE", ""),
)
loopback.start()

import mlflow  # noqa: E402
import requests  # noqa: E402
from azure.core.exceptions import HttpResponseError, ResourceExistsError  # noqa: E402
from azure.storage.blob import BlobClient  # noqa: E402
from azureml.core import Experiment, Run, Workspace  # noqa: E402
from azureml.core.authentication import ArmTokenAuthentication  # noqa: E402
from checks import check, finish  # noqa: E402
from mlflow import MlflowClient  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402

GROUP, NAME = "Trees", "Meadow"
SCOPE = f"/subscriptions/{PERSON}/resourceGroups/{GROUP}/providers/Microsoft.MachineLearningServices/workspaces/{NAME}"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


def prepare():
    answer = requests.put(f"{ENDPOINT}{SCOPE}?api-version=2020-08-01", json={"location": "here"}, headers=HEADERS)
    check("a workspace", answer.status_code in (200, 201))
    return Workspace(PERSON, GROUP, NAME, auth=ArmTokenAuthentication(TOKEN, cloud="Habeas"))


def tracking():
    """A run with everything that an ordinary script logs."""
    mlflow.set_experiment("leaves")
    folder = tempfile.mkdtemp()
    os.makedirs(f"{folder}/sub")
    for name in ("one.txt", "sub/two.txt"):
        with open(f"{folder}/{name}", "w", encoding="utf-8") as file:
            file.write(name)
    with mlflow.start_run(run_name="first") as run:
        mlflow.log_param("lr", 0.1)
        mlflow.log_metric("acc", 0.5, step=1)
        mlflow.log_metrics({"acc": 0.75, "loss": 1.5}, step=2)
        mlflow.set_tag("kind", "oak")
        mlflow.log_text("a line", "notes/line.txt")
        mlflow.log_dict({"a": 1}, "config.json")
        mlflow.log_artifacts(folder, "all")
    check(f"the address of its files: {run.info.artifact_uri}", run.info.artifact_uri.startswith("azureml://"))
    found = mlflow.get_run(run.info.run_id)
    check("ended", found.info.status == "FINISHED")
    check("logged", (found.data.params, found.data.metrics["acc"], found.data.tags["kind"]) == ({"lr": "0.1"}, 0.75, "oak"))
    client = MlflowClient()
    names = sorted(file.path for file in client.list_artifacts(run.info.run_id))
    check(f"files: {names}", names == ["all", "config.json", "notes"])
    check("below", [file.path for file in client.list_artifacts(run.info.run_id, "all/sub")] == ["all/sub/two.txt"])
    with open(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="notes/line.txt"), encoding="utf-8") as file:
        check("fetched", file.read() == "a line")
    local = client.download_artifacts(run.info.run_id, "all", tempfile.mkdtemp())
    with open(f"{local}/sub/two.txt", encoding="utf-8") as file:
        check("a folder", file.read() == "sub/two.txt")
    check("searched", [one.info.run_name for one in client.search_runs([run.info.experiment_id], "metrics.acc > 0.6")] == ["first"])
    try:
        client.log_text(run.info.run_id, "again", "notes/line.txt")
        check("overwritten", False)
    except Exception as error:
        check(f"not overwritten: {error}", "already exists" in str(error))
    try:
        with mlflow.start_run():
            raise ValueError("tried")
    except ValueError:
        pass
    failed = client.search_runs([run.info.experiment_id], "attributes.status = 'FAILED'")
    check("a failed run", len(failed) == 1)
    return run.info.run_id


def models():
    """A logged model, whose files clients from 3.0 keep apart from the run's: sent, listed and fetched as `log_model` and `load_model` do."""
    client = MlflowClient()
    folder = tempfile.mkdtemp()
    os.makedirs(f"{folder}/data")
    for name in ("MLmodel", "data/weights.bin"):
        with open(f"{folder}/{name}", "w", encoding="utf-8") as file:
            file.write(name)
    model = mlflow.initialize_logged_model(name="oak")
    check(f"the address of its files: {model.artifact_location}", model.artifact_location.startswith("azureml://"))
    client.log_model_artifacts(model.model_id, folder)
    mlflow.finalize_logged_model(model.model_id, "READY")
    local = mlflow.artifacts.download_artifacts(f"models:/{model.model_id}")
    for name in ("MLmodel", "data/weights.bin"):
        with open(f"{local}/{name}", encoding="utf-8") as file:
            check(f"fetched: {name}", file.read() == name)


def both(workspace, run_id):
    """The same run by `azureml-core`: one sees the other's files."""
    run = Run.get(workspace, run_id)
    check("its files", run.get_file_names() == ["all/one.txt", "all/sub/two.txt", "config.json", "notes/line.txt"])
    path = f"{tempfile.mkdtemp()}/line.txt"
    run.download_file("notes/line.txt", path)
    with open(path, encoding="utf-8") as file:
        check("fetched by the other", file.read() == "a line")
    run.upload_file("outputs/line.txt", path)
    names = [file.path for file in MlflowClient().list_artifacts(run_id, "outputs")]
    check("sent by the other", names == ["outputs/line.txt"])


def folders(workspace):
    """Folders of files, a large one in blocks, and snapshots of the source, of which the second is sent in part."""
    source, results = tempfile.mkdtemp(), tempfile.mkdtemp()
    os.makedirs(f"{source}/parts")
    for name in ("train.py", "parts/one.py"):
        with open(f"{source}/{name}", "w", encoding="utf-8") as file:
            file.write(f"# {name}")
    for name in ("a.txt", "b.txt"):
        with open(f"{results}/{name}", "w", encoding="utf-8") as file:
            file.write(name)
    experiment = Experiment(workspace, "folders")
    snapshots = []
    for number in (1, 2):
        run = experiment.start_logging(snapshot_directory=source)
        snapshots.append(run.get_details()["properties"]["ContentSnapshotId"])
        run.upload_folder("outputs/all", results)
        run.complete()
        with open(f"{source}/train.py", "a", encoding="utf-8") as file:
            file.write(f" {number}")
    check("two snapshots", len(set(snapshots)) == 2)
    with zipfile.ZipFile(run.restore_snapshot(path=tempfile.mkdtemp())) as archive:
        check("what changed", archive.read("train.py") == b"# train.py 1")
        check("what did not", archive.read("parts/one.py") == b"# parts/one.py")
    target = tempfile.mkdtemp()
    run.download_files(prefix="outputs/all", output_directory=target)
    check("a folder back", sorted(os.listdir(f"{target}/outputs/all")) == ["a.txt", "b.txt"])
    large = f"{results}/large.bin"
    piece = os.urandom(1 << 20)
    with open(large, "wb") as file:
        for _ in range(65):
            file.write(piece)
    run.upload_file("outputs/large.bin", large)
    run.download_file("outputs/large.bin", f"{target}/large.bin")
    check("in blocks", os.path.getsize(f"{target}/large.bin") == 65 << 20)
    with open(f"{target}/large.bin", "rb") as file:
        check("the same", all(file.read(1 << 20) == piece for _ in range(65)))
    jobs = requests.get(f"{ENDPOINT}/notification/v1.0{SCOPE}/users/{PERSON}/jobs", headers=HEADERS).json()["value"]
    check("told of its end", run.id in [job["runId"] for job in jobs if job["status"] == "Completed"])


def registry(run_id):
    client = MlflowClient()
    client.create_registered_model("oak")
    version = client.create_model_version("oak", f"runs:/{run_id}/all", run_id)
    check(f"a version: {version.version}", str(version.version) == "1")
    client.set_registered_model_tag("oak", "a", "b")
    check("found", [one.name for one in client.search_registered_models()] == ["oak"])


def storage(run_id):
    """Azure's storage client at a signed address: a file in blocks, ranges, and nothing without the signature."""
    answer = requests.post(
        f"{ENDPOINT}/artifact/v2.0{SCOPE}/artifacts/batch/metadata/ExperimentRun/dcid.{run_id}",
        json={"paths": [{"path": "large.bin"}]},
        headers=HEADERS,
    ).json()
    address = answer["artifactContentInformation"]["large.bin"]["contentUri"]
    large = os.urandom(300_000)
    sizes = {"max_single_put_size": 65536, "max_block_size": 65536, "max_single_get_size": 65536, "max_chunk_get_size": 65536}
    client = BlobClient.from_blob_url(address, **sizes)
    client.upload_blob(large, max_concurrency=3)
    check("its length", client.get_blob_properties().size == len(large))
    check("in pieces", client.download_blob(max_concurrency=3).readall() == large)
    check("a part", client.download_blob(offset=70_000, length=10).readall() == large[70_000:70_010])
    try:
        client.upload_blob(b"x")
        check("overwritten", False)
    except ResourceExistsError as error:
        check(f"kept: {error.error_code}", error.error_code == "BlobAlreadyExists")
    client.upload_blob(b"small", overwrite=True, validate_content=True)
    check("replaced", client.download_blob().readall() == b"small")
    try:
        BlobClient.from_blob_url(address.split("?")[0], retry_total=0).download_blob()
        check("without a signature", False)
    except HttpResponseError as error:
        check(f"refused: {error.error_code}", error.error_code == "AuthenticationFailed")


def main():
    workspace = prepare()
    mlflow.set_tracking_uri(workspace.get_mlflow_tracking_uri())
    check(f"its address: {mlflow.get_tracking_uri()}", mlflow.get_tracking_uri().startswith("azureml://"))
    run_id = tracking()
    if int(mlflow.__version__.split(".")[0]) >= 3:
        models()
    both(workspace, run_id)
    folders(workspace)
    registry(run_id)
    storage(run_id)
    try:
        MlflowClient().get_run("0" * 32)
        check("none", False)
    except MlflowException as error:
        check(f"none: {error.error_code}", error.error_code == "RESOURCE_DOES_NOT_EXIST")
    finish("azureml-mlflow 1.61.0")


main()
