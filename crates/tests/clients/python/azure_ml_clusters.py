"""Microsoft's client of operationalization clusters, unmodified, in the version it pins and in that of the document of 2018."""

import os

from azure.mgmt.machinelearningcompute import MachineLearningComputeManagementClient, models
from checks import check, finish
from msrest.authentication import BasicTokenAuthentication
from msrestazure.azure_exceptions import CloudError

ENDPOINT, PERSON = os.environ["HABEAS_TEST_ENDPOINT"], os.environ["HABEAS_TEST_PERSON"]
TOKEN, OTHER_TOKEN = os.environ["HABEAS_TEST_TOKEN"], os.environ["HABEAS_TEST_OTHER_TOKEN"]
GROUP = "Clusters"


def service(token=TOKEN):
    return MachineLearningComputeManagementClient(BasicTokenAuthentication({"access_token": token}), PERSON, base_url=ENDPOINT)


def refused(name, code, call):
    try:
        call()
    except (CloudError, models.ErrorResponseWrapperException) as told:
        # The one has the code itself there, the other the model that has it.
        found = told.error.error if isinstance(told, CloudError) else told.error.error.code
        check(f"{name}: {found}: {told}", found == code)
    else:
        check(f"{name}: not refused", False)


def cluster():
    principal = models.ServicePrincipalProperties(client_id="client", secret="a secret")
    container_service = models.AcsClusterProperties(
        orchestrator_type="Kubernetes",
        orchestrator_properties=models.KubernetesClusterProperties(service_principal=principal),
        system_services=[models.SystemService(system_service_type="BatchFrontEnd")],
        agent_count=4,
    )
    configuration = models.GlobalServiceConfiguration(
        ssl=models.SslConfiguration(cert="cert", key="a key"),
        service_auth=models.ServiceAuthConfiguration(primary_auth_key_hash="p", secondary_auth_key_hash="s"),
        auto_scale=models.AutoScaleConfiguration(status="Enabled", target_utilization=0.5),
    )
    return models.OperationalizationCluster(
        location="here",
        cluster_type="ACS",
        tags={"team": "forest"},
        description="trees",
        storage_account=models.StorageAccountProperties(resource_id="/subscriptions/s"),
        container_service=container_service,
        global_service_configuration=configuration,
    )


def newer():
    client = service()
    clusters = client.operationalization_clusters
    operations = client.machine_learning_compute.list_available_operations().value
    check("operations", "Microsoft.MachineLearningCompute/operationalizationClusters/write" in [one.name for one in operations])
    made = clusters.create_or_update(GROUP, "Woods", cluster()).result()
    check("made", (made.name, made.provisioning_state, made.container_service.agent_count) == ("Woods", "Succeeded", 4))
    check("no secrets", made.container_service.orchestrator_properties.service_principal.secret is None and made.global_service_configuration.ssl.key is None)
    check("dates", made.created_on is not None and made.modified_on >= made.created_on)
    changed = clusters.update(GROUP, "woods", tags={"a": "b"})
    check("changed", (changed.tags, changed.id) == ({"a": "b"}, made.id))
    keys = clusters.list_keys(GROUP, "Woods")
    check("keys", keys.container_service.service_principal_configuration.secret == "a secret" and keys.ssl_configuration.key == "a key")
    check("hashes", keys.service_auth_configuration.primary_auth_key_hash == "p")
    check("no updates", clusters.check_system_services_updates_available(GROUP, "Woods").updates_available == "No")
    check("updated", clusters.update_system_services(GROUP, "Woods").result().update_status == "Succeeded")
    check("by group", [one.name for one in clusters.list_by_resource_group(GROUP)] == ["Woods"])
    check("by subscription", [one.name for one in clusters.list_by_subscription_id()] == ["Woods"])
    refused("none", "ResourceNotFound", lambda: clusters.get(GROUP, "None"))
    refused("a stranger", "SubscriptionNotFound", lambda: service(OTHER_TOKEN).operationalization_clusters.get(GROUP, "Woods"))
    refused("too many", "InvalidRequestContent", lambda: clusters.create_or_update(GROUP, "Other", models.OperationalizationCluster(location="x", cluster_type="None")))


def older():
    """The address of the document of 2018. The client knows the newer shape of system services only, so this cluster has none."""
    clusters = service().operationalization_clusters
    clusters.api_version = "2017-06-01-preview"
    asked = cluster()
    asked.container_service.system_services = None
    made = clusters.create_or_update("Older", "Groves", asked).result()
    check("of June", (made.container_service.agent_vm_size, made.container_service.master_count) == ("Standard_D3_v2", None))
    check("found", clusters.get("older", "groves").id == made.id)
    check("listed", [one.name for one in clusters.list_by_resource_group("older")] == ["Groves"])
    check("deleted", clusters.delete("Older", "Groves").result() is None)


def deletion():
    clusters = service().operationalization_clusters
    for _ in range(2):
        check("deleted", clusters.delete(GROUP, "Woods").result() is None)
    check("gone", list(clusters.list_by_subscription_id()) == [])


newer()
older()
deletion()
finish("azure-mgmt-machinelearningcompute 0.4.1")
