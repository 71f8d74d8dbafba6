"""MLflow's own client, unmodified: what a training script does, then everything else that a client of tracking, artifacts and registry can ask."""

import json
import os
import re
import tempfile
from pathlib import Path

import mlflow
import requests
from checks import check, finish
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException, RestException

ENDPOINT = os.environ["HABEAS_TEST_ENDPOINT"]
TOKEN, OTHER_TOKEN, EMAIL = (os.environ[f"HABEAS_TEST_{name}"] for name in ("TOKEN", "OTHER_TOKEN", "EMAIL"))
VERSION = tuple(int(part) for part in mlflow.__version__.split(".")[:2])
#: Bytes of the large file: several frames of a sealed blob, and several pieces of a download.
LARGE = 40 * 1024 * 1024

called = set()


def watch():
    """Notes every operation that the client calls, with identifiers left out."""
    send = requests.Session.send

    def noted(session, request, **options):
        answer = send(session, request, **options)
        path = re.sub(r"^.*/api/[23]\.0/", "", request.url.split("?")[0])
        path = re.sub(r"m-[0-9a-f]{32}(?=/|$)", "{model}", path) if path.startswith("mlflow/logged-models") else path
        path = re.sub(r"(?<=/tags/).*", "{tag}", path)
        path = re.sub(r"(?<=^mlflow-artifacts/artifacts/).*", "{path}", path)
        if answer.status_code == 200:
            called.add(f"{request.method} {path}")
        return answer

    requests.Session.send = noted


def refused(name, code, call, words=""):
    """Checks that a call is refused with MLflow's own code, and says so in these words."""
    try:
        call()
    except MlflowException as error:
        check(f"{name}: {error.error_code} {error}", error.error_code == code and words in str(error))
    else:
        check(f"{name}: not refused", False)


def training(folder):
    """An ordinary script: set_experiment, start_run, parameters, metrics, tags, artifacts, nested runs."""
    experiment = mlflow.set_experiment("trees")
    check("the experiment is there", mlflow.get_experiment_by_name("trees").experiment_id == experiment.experiment_id)
    with mlflow.start_run(run_name="first", tags={"team": "forest"}, description="a first try") as run:
        mlflow.log_param("depth", 3)
        mlflow.log_params({"rate": 0.1, "kind": "gini"})
        for step in range(5):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
        mlflow.log_metrics({"acc": 0.9, "nan": float("nan"), "up": float("inf"), "down": float("-inf")}, step=4)
        mlflow.set_tag("stage", "trial")
        mlflow.set_tags({"a/b": "1", "größe": "ä"})
        mlflow.log_text("a line", "notes/line.txt")
        mlflow.log_dict({"a": 1}, "notes/values.json")
        path = folder / "two words+plus%.txt"
        path.write_text("content")
        mlflow.log_artifact(str(path))
        with mlflow.start_run(run_name="child", nested=True) as child:
            mlflow.log_metric("acc", 0.5)
    client = MlflowClient()
    found = client.get_run(run.info.run_id)
    check("finished", found.info.status == "FINISHED" and found.info.end_time >= found.info.start_time)
    check("named", found.info.run_name == "first" and found.data.tags["mlflow.runName"] == "first")
    check("parameters", found.data.params == {"depth": "3", "rate": "0.1", "kind": "gini"})
    metrics = found.data.metrics
    check("metrics", metrics["loss"] == 0.2 and metrics["acc"] == 0.9 and metrics["up"] == float("inf") and metrics["down"] == float("-inf"))
    check("not a number", metrics["nan"] != metrics["nan"])
    tags = {key: found.data.tags.get(key) for key in ("team", "stage", "a/b", "größe", "mlflow.note.content")}
    check(f"tags: {tags}", tags == {"team": "forest", "stage": "trial", "a/b": "1", "größe": "ä", "mlflow.note.content": "a first try"})
    check("the login name", found.data.tags["mlflow.user"] == found.info.user_id != "")
    check("the child", client.get_run(child.info.run_id).data.tags["mlflow.parentRunId"] == run.info.run_id)
    check("its text", mlflow.artifacts.load_text(f"{run.info.artifact_uri}/notes/line.txt") == "a line")
    check("its values", mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/notes/values.json") == {"a": 1})
    local = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="two words+plus%.txt", dst_path=str(folder / "down"))
    check("its file", Path(local).read_text() == "content")
    with_error = None
    try:
        with mlflow.start_run() as with_error:
            raise KeyError("a script that fails")
    except KeyError:
        pass
    check("failed", client.get_run(with_error.info.run_id).info.status == "FAILED")
    return experiment.experiment_id, run.info.run_id


def metrics_in_bulk(client, experiment):
    run = client.create_run(experiment, tags={"bulk": "yes"}, run_name="bulk").info.run_id
    for begin in range(0, 30_000, 1_000):
        client.log_batch(run, metrics=[Metric("series", step / 2, 1_700_000_000_000 + step, step) for step in range(begin, begin + 1_000)])
    history = client.get_metric_history(run, "series")
    check(f"the whole history: {len(history)}", [point.step for point in history] == list(range(30_000)))
    check("its values", history[-1].value == 29_999 / 2 and history[-1].timestamp == 1_700_000_029_999)
    check("no history", client.get_metric_history(run, "none") == [])
    client.log_batch(run, params=[Param(f"p{number}", str(number)) for number in range(100)], tags=[RunTag(f"t{number}", "x") for number in range(100)])
    check("a full batch", len(client.get_run(run).data.params) == 100)
    refused("a batch with a bad key", "INVALID_PARAMETER_VALUE", lambda: client.log_batch(run, metrics=[Metric("a*", 1, 1, 0)]), "Names may only contain")
    refused(
        "a parameter changed",
        "INVALID_PARAMETER_VALUE",
        lambda: client.log_batch(run, params=[Param("p1", "other")]),
        "Changing param values is not allowed",
    )
    check("nothing of it", client.get_run(run).data.params["p1"] == "1")
    client.set_terminated(run, status="KILLED")
    check("killed", client.get_run(run).info.status == "KILLED")
    client.update_run(run, status="RUNNING", name="renamed")
    check("renamed", client.get_run(run).info.run_name == "renamed")
    client.delete_tag(run, "t1")
    check("a tag less", "t1" not in client.get_run(run).data.tags)
    refused("a tag that is not there", "RESOURCE_DOES_NOT_EXIST", lambda: client.delete_tag(run, "t1"), "No tag with name: t1")


def searching(client):
    experiment = client.create_experiment("searched", tags={"use": "search"})
    runs = []
    for number in range(10):
        run = client.create_run(experiment, run_name=f"run-{number}", start_time=1_700_000_000_000 + number, tags={"parity": "even" if number % 2 == 0 else "odd"})
        client.log_metric(run.info.run_id, "acc", number / 10)
        client.log_param(run.info.run_id, "model", "Tree" if number < 5 else "forest")
        runs.append(run.info.run_id)

    def numbers(query, order=("attributes.start_time ASC",), **options):
        return [runs.index(run.info.run_id) for run in client.search_runs([experiment], query, order_by=list(order), **options)]

    for query, expected in [
        ("", list(range(10))),
        ("metrics.acc > 0.65", [7, 8, 9]),
        ("metrics.acc >= 0.3 and metrics.acc != 0.4 and metrics.acc < 0.6", [3, 5]),
        ("params.model = 'Tree' AND tags.parity = 'odd'", [1, 3]),
        ('params.model = "Tree" and tags.parity = "odd"', [1, 3]),
        (f'attributes.run_id IN ("{runs[2]}", "{runs[4]}")', [2, 4]),
        ("params.model LIKE 'tr%'", []),
        ("params.model ILIKE 'tr%' and tags.parity != 'odd'", [0, 2, 4]),
        ("attributes.run_name = 'run-3'", [3]),
        ("run_name LIKE 'run-%' and attributes.start_time > 1700000000007", [8, 9]),
        (f"attributes.run_id IN ('{runs[2]}', '{runs[4]}')", [2, 4]),
        (f"attributes.run_id NOT IN ({', '.join(repr(run) for run in runs[1:])})", [0]),
        ("status = 'RUNNING' and tags.\"parity\" = 'even' and params.`model` = 'forest'", [6, 8]),
        ("metrics.none > 0", []),
    ]:
        found = numbers(query)
        check(f"{query!r}: {found}", found == expected)
    check("by a metric", numbers("", ["metrics.acc DESC"]) == list(reversed(range(10))))
    check("by two keys", numbers("", ["tags.parity ASC", "metrics.acc DESC"]) == [8, 6, 4, 2, 0, 9, 7, 5, 3, 1])
    first = client.search_runs([experiment], max_results=4, order_by=["metrics.acc"])
    second = client.search_runs([experiment], max_results=4, order_by=["metrics.acc"], page_token=first.token)
    third = client.search_runs([experiment], max_results=4, order_by=["metrics.acc"], page_token=second.token)
    paged = [runs.index(run.info.run_id) for page in (first, second, third) for run in page]
    check(f"pages: {paged}", paged == list(range(10)) and not third.token)
    client.delete_run(runs[0])
    check("put aside", numbers("") == list(range(1, 10)) and numbers("", run_view_type=ViewType.DELETED_ONLY) == [0])
    refused("written to", "INVALID_PARAMETER_VALUE", lambda: client.log_param(runs[0], "a", "b"), "must be in the 'active' state")
    client.restore_run(runs[0])
    check("restored", numbers("", run_view_type=ViewType.ALL) == list(range(10)))
    refused("OR", "INVALID_PARAMETER_VALUE", lambda: client.search_runs([experiment], "metrics.a > 1 or metrics.b > 1"), "Invalid clause(s) in filter string")
    refused("an unknown attribute", "INVALID_PARAMETER_VALUE", lambda: client.search_runs([experiment], "foo = 'a'"), "Invalid attribute key 'foo'")
    refused("a bad page", "INVALID_PARAMETER_VALUE", lambda: client.search_runs([experiment], page_token="x"), "Invalid page token")
    return experiment


def experiments(client, experiment):
    client.set_experiment_tag(experiment, "note", "b")
    client.rename_experiment(experiment, "renamed")
    found = client.get_experiment(experiment)
    check("renamed and tagged", found.name == "renamed" and found.tags == {"use": "search", "note": "b"})
    if hasattr(client, "delete_experiment_tag"):
        client.delete_experiment_tag(experiment, "note")
        check("a tag less", client.get_experiment(experiment).tags == {"use": "search"})
    names = [found.name for found in client.search_experiments(filter_string="name LIKE 'ren%' and tags.use = 'search'")]
    check(f"found: {names}", names == ["renamed"])
    names = [found.name for found in client.search_experiments(order_by=["name DESC"])]
    check(f"all: {names}", names == ["trees", "renamed", "Default"])
    page = client.search_experiments(order_by=["name"], max_results=2)
    rest = client.search_experiments(order_by=["name"], max_results=2, page_token=page.token)
    check("paged", [found.name for found in [*page, *rest]] == ["Default", "renamed", "trees"])
    refused("a name that is taken", "RESOURCE_ALREADY_EXISTS", lambda: client.create_experiment("trees"), "already exists")
    client.delete_experiment(experiment)
    check("put aside with its runs", client.get_experiment(experiment).lifecycle_stage == "deleted" and not client.search_runs([experiment]))
    refused("a run in it", "INVALID_PARAMETER_VALUE", lambda: client.create_run(experiment), "must be in the 'active' state")
    client.restore_experiment(experiment)
    check("restored with its runs", client.get_experiment(experiment).lifecycle_stage == "active" and len(client.search_runs([experiment])) == 10)
    refused("none", "RESOURCE_DOES_NOT_EXIST", lambda: client.get_experiment("77"), "No Experiment with id=77 exists")
    check("none by name", client.get_experiment_by_name("none") is None)


def locations(client, folder):
    """A script that names a place for its files, as MLflow's quick start does, has them on the server all the same."""
    for number, location in enumerate([folder.joinpath("mlruns").as_uri(), "s3://bucket/team", "mlflow-artifacts:/team"]):
        experiment = client.create_experiment(f"located-{number}", artifact_location=location)
        run = client.create_run(experiment)
        client.log_text(run.info.run_id, "a line", "notes/line.txt")
        check(f"asked for {location}: {run.info.artifact_uri}", mlflow.artifacts.load_text(f"{run.info.artifact_uri}/notes/line.txt") == "a line")
        client.delete_experiment(experiment)
    check("nothing beside the server", not folder.joinpath("mlruns").exists())


def artifacts(client, run, folder):
    large = folder / "large.bin"
    large.write_bytes(bytes(range(256)) * (LARGE // 256))
    client.log_artifact(run, str(large), "big")
    tree = folder / "tree"
    (tree / "inner").mkdir(parents=True)
    (tree / "empty.txt").write_text("")
    (tree / "inner" / "ä b.txt").write_text("deep")
    client.log_artifacts(run, str(tree), "tree")
    listed = {(found.path, found.is_dir, found.file_size) for found in client.list_artifacts(run)}
    expected = {("big", True, None), ("notes", True, None), ("tree", True, None), ("two words+plus%.txt", False, 7)}
    check(f"listed: {listed}", listed == expected)
    check("below", [(found.path, found.file_size) for found in client.list_artifacts(run, "big")] == [("big/large.bin", LARGE)])
    target = folder / "all"
    target.mkdir()
    down = Path(client.download_artifacts(run, "", str(target)))
    check("a large file", (down / "big/large.bin").read_bytes() == large.read_bytes())
    check("a folder", (down / "tree/inner/ä b.txt").read_text() == "deep" and (down / "tree/empty.txt").read_bytes() == b"")
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository = get_artifact_repository(client.get_run(run).info.artifact_uri)
    repository.delete_artifacts("tree")
    check("deleted", "tree" not in {found.path for found in client.list_artifacts(run)})


def datasets(client, run):
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(name="leaves", digest="1a2b", source_type="local", source=json.dumps({"uri": "leaves.csv"}), schema='{"columns": []}', profile='{"rows": 7}')
    client.log_inputs(run, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])
    inputs = client.get_run(run).inputs.dataset_inputs
    check("a dataset", len(inputs) == 1 and dict(inputs[0].dataset) == dict(dataset) and inputs[0].tags[0].value == "training")
    experiment = client.get_run(run).info.experiment_id
    for query, count in [("dataset.name = 'leaves'", 1), ("datasets.digest IN ('1a2b') and dataset.context = 'training'", 1), ("dataset.name LIKE 'x%'", 0)]:
        check(f"runs by dataset: {query}", len(client.search_runs([experiment], query)) == count)


def registry(client, run):
    client.create_registered_model("forest", tags={"team": "a"}, description="trees")
    refused("a name that is taken", "RESOURCE_ALREADY_EXISTS", lambda: client.create_registered_model("forest"), "Registered Model (name=forest) already exists")
    refused("a bad name", "INVALID_PARAMETER_VALUE", lambda: client.create_registered_model("a/b:c"), "")
    source = f"{client.get_run(run).info.artifact_uri}/notes"
    for number in ("1", "2"):
        made = client.create_model_version("forest", source, run_id=run, tags={"n": number}, description=f"number {number}")
        check("a version", (str(made.version), made.status, made.current_stage) == (number, "READY", "None"))
    refused("a path of the server", "INVALID_PARAMETER_VALUE", lambda: client.create_model_version("forest", "/etc", run_id=None), "Invalid model version source")
    check("its place", client.get_model_version_download_uri("forest", "1") == source)
    client.update_model_version("forest", "1", description="the first")
    client.set_model_version_tag("forest", "1", "checked", "yes")
    client.delete_model_version_tag("forest", "1", "n")
    found = client.get_model_version("forest", "1")
    check("changed", (found.description, found.tags, found.run_id) == ("the first", {"checked": "yes"}, run))
    client.set_registered_model_alias("forest", "champion", "2")
    check("by alias", str(client.get_model_version_by_alias("forest", "champion").version) == "2")
    check("aliases", {key: str(value) for key, value in client.get_registered_model("forest").aliases.items()} == {"champion": "2"})
    refused("a reserved alias", "INVALID_PARAMETER_VALUE", lambda: client.set_registered_model_alias("forest", "latest", "2"), "reserved")
    client.transition_model_version_stage("forest", "1", "Production")
    client.transition_model_version_stage("forest", "2", "Production", archive_existing_versions=True)
    stages = {str(found.version): found.current_stage for found in client.search_model_versions("name = 'forest'")}
    check(f"stages: {stages}", stages == {"1": "Archived", "2": "Production"})
    check("the latest", [str(found.version) for found in client.get_latest_versions("forest", ["Production"])] == ["2"])
    found = client.search_model_versions(f"run_id = '{run}' and tags.checked = 'yes'")
    check("versions by run and tag", [str(version.version) for version in found] == ["1"])
    found = client.search_model_versions(order_by=["version_number ASC"], max_results=1)
    found += client.search_model_versions(order_by=["version_number ASC"], max_results=1, page_token=found.token)
    check("pages of versions", [str(version.version) for version in found] == ["1", "2"])
    client.set_registered_model_tag("forest", "use", "test")
    client.delete_registered_model_tag("forest", "team")
    client.update_registered_model("forest", description="many trees")
    copy = client.copy_model_version("models:/forest@champion", "copse")
    check("a copy", (str(copy.version), copy.source, copy.run_id) == ("1", "models:/forest/2", run))
    client.rename_registered_model("forest", "wood")
    model = client.get_registered_model("wood")
    check("renamed", (model.description, model.tags) == ("many trees", {"use": "test"}))
    check("searched", [found.name for found in client.search_registered_models("name ILIKE 'WO%' and tags.use = 'test'")] == ["wood"])
    local = mlflow.artifacts.download_artifacts("models:/wood@champion")
    check("downloaded by alias", (Path(local) / "line.txt").read_text() == "a line")
    local = mlflow.artifacts.download_artifacts("models:/copse/1")
    check("downloaded from the copy", (Path(local) / "line.txt").read_text() == "a line")
    client.delete_registered_model_alias("wood", "champion")
    refused("no alias", "INVALID_PARAMETER_VALUE", lambda: client.get_model_version_by_alias("wood", "champion"), "Registered model alias champion not found")
    client.delete_model_version("wood", "1")
    refused("no version", "RESOURCE_DOES_NOT_EXIST", lambda: client.get_model_version("wood", "1"), "Model Version (name=wood, version=1) not found")
    client.delete_registered_model("wood")
    refused("no model", "RESOURCE_DOES_NOT_EXIST", lambda: client.get_registered_model("wood"), "Registered Model with name=wood not found")
    check("the copy's place", client.get_model_version_download_uri("copse", "1") == source)
    client.delete_registered_model("copse")


def models(client, experiment):
    """Logs a model, registers it, loads it by alias, and asks it; then what stands for it on the server."""

    class Doubling(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            return [2 * value for value in model_input]

    mlflow.set_experiment(experiment_id=experiment)
    with mlflow.start_run() as run:
        logged = mlflow.pyfunc.log_model(name="doubling", python_model=Doubling(), registered_model_name="doubling", pip_requirements=[])
    client.set_registered_model_alias("doubling", "best", "1")
    check("asked by alias", mlflow.pyfunc.load_model("models:/doubling@best").predict([1, 2]) == [2, 4])
    check("asked by address", mlflow.pyfunc.load_model(logged.model_uri).predict([3]) == [6])
    found = client.search_model_versions(f"run_id = '{run.info.run_id}' and version_number = '1'")
    check("the version's run", [(version.name, version.run_id) for version in found] == [("doubling", run.info.run_id)])
    client.copy_model_version("models:/doubling@best", "doubling-copy")
    client.rename_registered_model("doubling", "doubled")
    check("asked by a copy", mlflow.pyfunc.load_model("models:/doubling-copy/1").predict([4]) == [8])
    model = mlflow.get_logged_model(logged.model_id)
    check("ready", (model.status.value, model.name, model.source_run_id) == ("READY", "doubling", run.info.run_id))
    check("the run knows it", [output.model_id for output in client.get_run(run.info.run_id).outputs.model_outputs] == [logged.model_id])
    mlflow.set_logged_model_tags(logged.model_id, {"quality": "good", "gone": "soon"})
    client.delete_logged_model_tag(logged.model_id, "gone")
    with mlflow.start_run(run_id=run.info.run_id):
        mlflow.log_metric("f1", 0.75, model_id=logged.model_id)
    model = mlflow.get_logged_model(logged.model_id)
    check(f"tags: {model.tags}", model.tags.get("quality") == "good" and "gone" not in model.tags)
    check("its metric", [(metric.key, metric.value) for metric in model.metrics] == [("f1", 0.75)])
    found = mlflow.search_logged_models([experiment], "metrics.f1 > 0.5 and tags.quality = 'good'", output_format="list")
    check("searched", [one.model_id for one in found] == [logged.model_id])
    measured(experiment, logged.model_id)
    check("noted where it was registered", json.loads(model.tags["mlflow.modelVersions"])[0]["name"] == "doubling")
    external = mlflow.initialize_logged_model(name="elsewhere", params={"depth": "3"}, model_type="agent")
    mlflow.finalize_logged_model(external.model_id, "READY")
    found = mlflow.search_logged_models([experiment], order_by=[{"field_name": "name", "ascending": False}], output_format="list")
    check("ordered", [one.name for one in found] == ["elsewhere", "doubling"])
    check("its files", {found.path for found in client.list_logged_model_artifacts(logged.model_id)} >= {"MLmodel", "python_model.pkl"})
    client.delete_logged_model(external.model_id)
    refused("no model", "RESOURCE_DOES_NOT_EXIST", lambda: mlflow.get_logged_model(external.model_id), "not found")


def prompts(client, experiment):
    """Texts for language models, which are registered models with tags."""
    mlflow.set_experiment(experiment_id=experiment)
    for number, template in enumerate(["Hello {{name}}", "Good evening {{name}}"], 1):
        made = mlflow.genai.register_prompt("greeting", template, commit_message=f"number {number}", tags={"tone": "friendly"})
        check("a prompt", (made.version, made.template, made.tags.get("tone")) == (number, template, "friendly"))
    check("a prompt by its version", mlflow.genai.load_prompt("prompts:/greeting/1").format(name="Ada") == "Hello Ada")
    mlflow.genai.set_prompt_alias("greeting", "live", 2)
    check("a prompt by its alias", mlflow.genai.load_prompt("prompts:/greeting@live").version == 2)
    check("prompts", [prompt.name for prompt in mlflow.genai.search_prompts()] == ["greeting"])
    check("no model", "greeting" not in {model.name for model in client.search_registered_models()})


def measured(experiment, model):
    """What a model has on several datasets, logged by another run than the one that made it."""
    import pandas

    leaves, roots = (mlflow.data.from_pandas(pandas.DataFrame({"a": [1, 2]}), name=name, digest="1a2b") for name in ("leaves", "roots"))
    with mlflow.start_run() as run:
        mlflow.log_metric("recall", 0.25, model_id=model, dataset=leaves)
        mlflow.log_metrics({"recall": 0.75}, model_id=model, dataset=roots)
    found = {metric.dataset_name: metric for metric in mlflow.get_logged_model(model).metrics if metric.key == "recall"}
    check(f"on each dataset: {found}", {name: metric.value for name, metric in found.items()} == {"leaves": 0.25, "roots": 0.75})
    check("by the other run", {(metric.run_id, metric.dataset_digest) for metric in found.values()} == {(run.info.run_id, "1a2b")})
    for datasets, query, count in [
        ([{"dataset_name": "leaves"}], None, 1),
        ([{"dataset_name": "leaves", "dataset_digest": "0"}], None, 0),
        ([{"dataset_name": "leaves"}], "metrics.recall > 0.5", 0),
        ([{"dataset_name": "roots", "dataset_digest": "1a2b"}], "metrics.recall > 0.5", 1),
    ]:
        order = [{"field_name": "metrics.recall", "dataset_name": "roots"}]
        found = mlflow.search_logged_models([experiment], query, datasets=datasets, order_by=order, output_format="list")
        check(f"models on {datasets}, {query}", len(found) == count)


def old_models(client, experiment):
    """What clients before 3.0 say of a model that they logged."""
    run = client.create_run(experiment).info.run_id
    client._record_logged_model(run, mlflow.models.Model(artifact_path="oak", run_id=run, flavors={"python_function": {}}))
    client._record_logged_model(run, mlflow.models.Model(artifact_path="elm", run_id=run, flavors={"python_function": {}}))
    said = json.loads(client.get_run(run).data.tags["mlflow.log-model.history"])
    check(f"models in the run's history: {said}", [model["artifact_path"] for model in said] == ["oak", "elm"])


def scikit_learn(experiment):
    """Automatic logging of a training with datasets, signature, model and metrics."""
    import numpy
    import pandas
    from sklearn.linear_model import LogisticRegression

    mlflow.set_experiment(experiment_id=experiment)
    mlflow.sklearn.autolog()
    rows = numpy.random.default_rng(7).normal(size=(60, 3))
    frame = pandas.DataFrame(rows, columns=["a", "b", "c"])
    wanted = frame["a"] > 0
    with mlflow.start_run() as run:
        mlflow.log_input(mlflow.data.from_pandas(frame, name="rows"), context="training")
        mlflow.log_table(frame.head(3), "head.json")
        fitted = LogisticRegression().fit(frame, wanted)
    mlflow.sklearn.autolog(disable=True)
    found = mlflow.get_run(run.info.run_id)
    check("parameters by themselves", found.data.params["C"] == "1.0")
    check("metrics by themselves", found.data.metrics["training_accuracy_score"] > 0.8)
    check("datasets by themselves", "rows" in {given.dataset.name for given in found.inputs.dataset_inputs})
    check("a table", mlflow.load_table("head.json", run_ids=[run.info.run_id]).shape[0] == 3)
    (model,) = mlflow.search_logged_models([experiment], f"source_run_id = '{run.info.run_id}'", output_format="list")
    loaded = mlflow.sklearn.load_model(model.model_uri)
    check("the same answers", (loaded.predict(frame) == fitted.predict(frame)).all())
    table = mlflow.search_runs([experiment], "params.C = '1.0'", order_by=["metrics.training_accuracy_score DESC"])
    check("a table of runs", list(table["run_id"]) == [run.info.run_id])


def callers(run):
    """Who is let in, by token or as a name and password; and what others are told."""
    del os.environ["MLFLOW_TRACKING_TOKEN"]
    refused("anonymous", "UNAUTHENTICATED", lambda: MlflowClient().get_run(run), "bearer token")
    os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"] = EMAIL, TOKEN
    check("by name and token", MlflowClient().get_run(run).info.run_id == run)
    os.environ["MLFLOW_TRACKING_PASSWORD"] = "wrong"
    refused("a wrong password", "UNAUTHENTICATED", lambda: MlflowClient().get_run(run))
    del os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"]
    os.environ["MLFLOW_TRACKING_TOKEN"] = OTHER_TOKEN
    refused("another person", "RESOURCE_DOES_NOT_EXIST", lambda: MlflowClient().get_run(run), f"Run with id={run} not found")
    check("nothing of it", [found.name for found in MlflowClient().search_experiments()] == ["Default"])
    try:
        MlflowClient().get_run(run)
    except RestException as error:
        check("as JSON", error.json["error_code"] == "RESOURCE_DOES_NOT_EXIST" and error.get_http_status_code() == 404)
    os.environ["MLFLOW_TRACKING_TOKEN"] = TOKEN


#: What a client of this version can ask, whatever its user does.
EXPECTED = """
POST experiments/create; GET experiments/get; GET experiments/get-by-name; POST experiments/search; POST experiments/update;
POST experiments/delete; POST experiments/restore; POST experiments/set-experiment-tag; POST runs/create; GET runs/get; POST runs/update;
POST runs/delete; POST runs/restore; POST runs/set-tag; POST runs/delete-tag; POST runs/log-metric; POST runs/log-parameter;
POST runs/log-batch; POST runs/log-inputs; POST runs/search; GET metrics/get-history; POST registered-models/create;
GET registered-models/get; GET registered-models/search; POST registered-models/rename; PATCH registered-models/update;
DELETE registered-models/delete; POST registered-models/get-latest-versions; POST registered-models/set-tag;
DELETE registered-models/delete-tag; POST registered-models/alias; GET registered-models/alias; DELETE registered-models/alias;
POST model-versions/create; GET model-versions/get; GET model-versions/search; PATCH model-versions/update;
POST model-versions/transition-stage; DELETE model-versions/delete; GET model-versions/get-download-uri; POST model-versions/set-tag;
DELETE model-versions/delete-tag"""
EXPECTED_3 = """; POST experiments/delete-experiment-tag; POST runs/outputs; POST logged-models; GET logged-models/{model};
PATCH logged-models/{model}; DELETE logged-models/{model}; POST logged-models/search; PATCH logged-models/{model}/tags;
DELETE logged-models/{model}/tags/{tag}"""


def main():
    watch()
    os.environ["MLFLOW_TRACKING_TOKEN"] = TOKEN
    # A mistake is told at once, not after minutes of trying again.
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "1"
    mlflow.set_tracking_uri(ENDPOINT)
    client = MlflowClient()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        experiment, run = training(folder)
        metrics_in_bulk(client, experiment)
        experiments(client, searching(client))
        locations(client, folder)
        artifacts(client, run, folder)
        datasets(client, run)
        registry(client, run)
        other = client.create_experiment("models")
        if VERSION >= (3, 0):
            models(client, other)
            prompts(client, other)
            scikit_learn(client.create_experiment("scikit-learn"))
        else:
            old_models(client, other)
        callers(run)
    expected = EXPECTED + (EXPECTED_3 if VERSION >= (3, 0) else "; POST runs/log-model")
    expected = {re.sub(" ", " mlflow/", operation.strip(), count=1) for operation in expected.split(";")}
    expected |= {"GET mlflow-artifacts/artifacts", *(f"{method} mlflow-artifacts/artifacts/{{path}}" for method in ("GET", "PUT", "DELETE"))}
    print(f"{len(called & expected)} of {len(expected)} operations")
    check(f"never answered: {sorted(expected - called)}", expected <= called)
    finish(f"mlflow {mlflow.__version__}")


main()
