"""Microsoft's client of workspaces, unmodified, and MLflow's in the workspaces that it makes: a team's, and nobody else's."""

import os
import time

import mlflow
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError
from azure.mgmt.machinelearningservices import MachineLearningServicesMgmtClient
from azure.mgmt.machinelearningservices.models import (
    AmlCompute,
    AmlComputeProperties,
    ComputeInstance,
    ComputeInstanceProperties,
    ComputeResource,
    ClusterUpdateParameters,
    ScaleSettings,
    VirtualMachine,
    VirtualMachineProperties,
    VirtualMachineSshCredentials,
    Workspace,
    WorkspaceUpdateParameters,
)
from checks import check, finish
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

ENDPOINT = os.environ["HABEAS_TEST_ENDPOINT"]
OWNER, PERSON, ORGANISATION = (os.environ[f"HABEAS_TEST_{name}"] for name in ("TOKEN", "PERSON", "ORGANISATION"))
TOKENS = {role: os.environ[f"HABEAS_TEST_TOKEN_{role.upper()}"] for role in ("contributor", "trainer", "reader")}
STRANGER = os.environ["HABEAS_TEST_OTHER_TOKEN"]


class Token:
    """A credential that is there already."""

    def __init__(self, token):
        self.token = token

    def get_token(self, *_scopes, **_options):
        return AccessToken(self.token, int(time.time()) + 3600)


def service(token, subscription=ORGANISATION, version="2020-08-01"):
    return MachineLearningServicesMgmtClient(Token(token), subscription, base_url=ENDPOINT, api_version=version, credential_scopes=["habeas"])


def refused(name, error, code, call):
    try:
        call()
    except error as told:
        found = told.error_code if isinstance(told, MlflowException) else told.error.code if told.error else None
        check(f"{name}: {found}: {told}", found == code)
    else:
        check(f"{name}: not refused", False)


def workspaces():
    client = service(TOKENS["contributor"])
    reference = f"/subscriptions/{ORGANISATION}/resourceGroups/Trees/providers/Microsoft.Storage/storageAccounts/files"
    body = Workspace(location="here", tags={"team": "forest"}, friendly_name="The forest", description="trees", storage_account=reference)
    made = client.workspaces.begin_create_or_update("Trees", "Forest", body, polling_interval=0).result()
    check("made", (made.name, made.location, made.tags, made.friendly_name) == ("Forest", "here", {"team": "forest"}, "The forest"))
    check("ready", (made.provisioning_state, made.storage_account, made.type) == ("Succeeded", reference, "Microsoft.MachineLearningServices/workspaces"))
    found = client.workspaces.get("trees", "FOREST")
    check("names in any case", (found.id, found.workspace_id) == (made.id, made.workspace_id))
    again = client.workspaces.begin_create_or_update("Trees", "forest", Workspace(location="here", description="more trees"), polling_interval=0).result()
    check("changed", (again.workspace_id, again.description, again.tags) == (made.workspace_id, "more trees", {"team": "forest"}))
    changed = client.workspaces.update("Trees", "Forest", WorkspaceUpdateParameters(tags={"a": "b"}, friendly_name="Wood"))
    check("changed in part", (changed.tags, changed.friendly_name, changed.description) == ({"a": "b"}, "Wood", "more trees"))
    client.workspaces.begin_create_or_update("Stones", "Hill", Workspace(location="there"), polling_interval=0).result()
    check("by group", [one.name for one in client.workspaces.list_by_resource_group("trees")] == ["Forest"])
    check("by subscription", [one.name for one in client.workspaces.list_by_subscription()] == ["Forest", "Hill"])
    check("keys", client.workspaces.list_keys("Trees", "Forest").user_storage_resource_id == reference)
    client.workspaces.resync_keys("Trees", "Forest")
    check("operations", "Microsoft.MachineLearningServices/workspaces/read" in [one.name for one in client.operations.list()])
    check("an old version", service(TOKENS["reader"], version="2018-03-01-preview").workspaces.get("Trees", "Forest").workspace_id == made.workspace_id)
    own = service(OWNER, PERSON)
    own.workspaces.begin_create_or_update("Trees", "Forest", Workspace(location="home"), polling_interval=0).result()
    check("one's own", [one.location for one in own.workspaces.list_by_subscription()] == ["home"])

    refused("a reader's", HttpResponseError, "AuthorizationFailed", lambda: service(TOKENS["reader"]).workspaces.update("Trees", "Forest", WorkspaceUpdateParameters(tags={})))
    refused("a trainer's", HttpResponseError, "AuthorizationFailed", lambda: service(TOKENS["trainer"]).workspaces.begin_create_or_update("Trees", "New", Workspace(location="x")))
    refused("a stranger's", ResourceNotFoundError, "SubscriptionNotFound", lambda: service(STRANGER).workspaces.get("Trees", "Forest"))
    refused("none", ResourceNotFoundError, "ResourceNotFound", lambda: client.workspaces.get("Trees", "None"))
    refused("anonymous", ClientAuthenticationError, "AuthenticationFailed", lambda: service("x.y.z").workspaces.get("Trees", "Forest"))
    refused("no version", HttpResponseError, "InvalidApiVersionParameter", lambda: service(OWNER, version="1999-01-01").workspaces.get("Trees", "Forest"))
    refused("no place", HttpResponseError, "LocationRequired", lambda: client.workspaces.begin_create_or_update("Trees", "Other", Workspace()))
    return made.id


def computes():
    """Machines that the team attaches, and those that a workspace is asked for: records, with their life."""
    computes = service(TOKENS["contributor"]).machine_learning_compute
    account = VirtualMachineSshCredentials(username="user", password="a secret")
    properties = VirtualMachineProperties(ssh_port=22, address="10.0.0.1", administrator_account=account)
    attached = ComputeResource(location="here", properties=VirtualMachine(resource_id="/subscriptions/vm", description="saws", properties=properties))
    made = computes.begin_create_or_update("Trees", "Forest", "Saws", attached, polling_interval=0).result()
    check("attached", (made.properties.compute_type, made.properties.is_attached_compute, made.properties.provisioning_state) == ("VirtualMachine", True, "Succeeded"))
    check("without its password", made.properties.properties.administrator_account.password is None)
    check("which has its place", computes.list_keys("Trees", "Forest", "Saws").administrator_account.password == "a secret")
    scale = ScaleSettings(min_node_count=1, max_node_count=4)
    asked = ComputeResource(location="here", properties=AmlCompute(properties=AmlComputeProperties(vm_size="small", scale_settings=scale)))
    made = computes.begin_create_or_update("Trees", "Forest", "Cpus", asked, polling_interval=0).result()
    check("asked for", (made.properties.is_attached_compute, made.properties.properties.scale_settings.max_node_count) == (False, 4))
    check("without nodes", (made.properties.properties.current_node_count, made.properties.properties.allocation_state) == (0, "Steady"))
    check("none listed", list(computes.list_nodes("Trees", "Forest", "Cpus")) == [])
    change = ClusterUpdateParameters(scale_settings=ScaleSettings(max_node_count=7))
    changed = computes.begin_update("Trees", "Forest", "Cpus", change, polling_interval=0).result()
    check("scaled", changed.properties.properties.scale_settings.max_node_count == 7)
    instance = ComputeResource(location="here", properties=ComputeInstance(properties=ComputeInstanceProperties(vm_size="small")))
    computes.begin_create_or_update("Trees", "Forest", "Desk", instance, polling_interval=0).result()
    for turn, state in ((computes.start, "Running"), (computes.stop, "Stopped"), (computes.restart, "Running")):
        turn("Trees", "Forest", "Desk")
        check(state, computes.get("Trees", "Forest", "Desk").properties.properties.state == state)
    reading = service(TOKENS["reader"], version="2018-03-01-preview").machine_learning_compute
    check("listed", [one.name for one in reading.list_by_workspace("Trees", "Forest")] == ["Saws", "Cpus", "Desk"])
    refused("a reader's", HttpResponseError, "AuthorizationFailed", lambda: reading.list_keys("Trees", "Forest", "Saws"))
    computes.begin_delete("Trees", "Forest", "Saws", underlying_resource_action="Detach", polling_interval=0).result()
    computes.begin_delete("Trees", "Forest", "Desk", underlying_resource_action="Delete", polling_interval=0).result()
    check("detached", [one.name for one in computes.list_by_workspace("Trees", "Forest")] == ["Cpus"])
    client = service(TOKENS["reader"])
    check("nothing is used up", list(client.usages.list("here")) == [])
    sizes = {size.name: size for size in client.virtual_machine_sizes.list("here").aml_compute}
    check("sizes", (sizes["Standard_D2_v2"].v_cp_us, sizes["Standard_D2_v2"].memory_gb) == (2, 7.0))


def tracking(workspace):
    """A member's script in the team's workspace; who reads it, and who does not."""
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "1"
    os.environ["MLFLOW_TRACKING_TOKEN"] = TOKENS["trainer"]
    address = f"{ENDPOINT}/mlflow/v1.0{workspace}"
    mlflow.set_tracking_uri(address)
    mlflow.set_experiment("leaves")
    with mlflow.start_run() as run:
        mlflow.log_metric("acc", 0.5)
        mlflow.log_text("a line", "notes/line.txt")
    client = MlflowClient()
    client.create_registered_model("oak")
    client.create_model_version("oak", f"{run.info.artifact_uri}/notes", run_id=run.info.run_id)
    for version in ("v1.0", "v2.0"):
        mlflow.set_tracking_uri(f"{ENDPOINT}/mlflow/{version}{workspace.lower().replace('resourcegroups', 'resourceGroups')}")
        os.environ["MLFLOW_TRACKING_TOKEN"] = TOKENS["reader"]
        client = MlflowClient()
        found = client.search_runs([run.info.experiment_id], "metrics.acc > 0.4")
        check("a colleague reads", [one.info.run_id for one in found] == [run.info.run_id])
        check("its files", mlflow.artifacts.load_text(f"{run.info.artifact_uri}/notes/line.txt") == "a line")
        check("its models", client.get_model_version("oak", "1").run_id == run.info.run_id)
        refused("and does not write", MlflowException, "PERMISSION_DENIED", lambda: client.log_metric(run.info.run_id, "acc", 1))
        os.environ["MLFLOW_TRACKING_TOKEN"] = STRANGER
        refused("a stranger", MlflowException, "RESOURCE_DOES_NOT_EXIST", lambda: MlflowClient().get_run(run.info.run_id))
    # The same person's plain address is another workspace.
    mlflow.set_tracking_uri(ENDPOINT)
    os.environ["MLFLOW_TRACKING_TOKEN"] = TOKENS["trainer"]
    refused("elsewhere", MlflowException, "RESOURCE_DOES_NOT_EXIST", lambda: MlflowClient().get_run(run.info.run_id))
    mlflow.set_tracking_uri(address)
    return run.info.run_id


def deletion(run):
    client = service(TOKENS["contributor"])
    client.workspaces.begin_delete("Trees", "Forest", polling_interval=0).result()
    client.workspaces.begin_delete("Trees", "Forest", polling_interval=0).result()
    check("gone", [one.name for one in client.workspaces.list_by_subscription()] == ["Hill"])
    refused("with its runs", MlflowException, "RESOURCE_DOES_NOT_EXIST", lambda: MlflowClient().get_run(run))
    made = client.workspaces.begin_create_or_update("Trees", "Forest", Workspace(location="here"), polling_interval=0).result()
    check("its name is free", made.name == "Forest" and [one.name for one in MlflowClient().search_experiments()] == ["Default"])


made = workspaces()
computes()
deletion(tracking(made))
finish("azure-mgmt-machinelearningservices 1.0.1")
