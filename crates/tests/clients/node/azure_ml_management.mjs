// Drives every operation of Microsoft's unmodified JavaScript clients of Azure ML's control plane: experimentation 1.2.1
// (2017-05-01-preview) and compute 2.1.1 (2017-08-01-preview).
import { MachineLearningComputeManagementClient } from "@azure/arm-machinelearningcompute";
import { MLTeamAccountManagementClient } from "@azure/arm-machinelearningexperimentation";
import { ENDPOINT, check, covered, finish, refused, watch } from "./driven.mjs";

const { HABEAS_TEST_TOKEN: TOKEN, HABEAS_TEST_OTHER_TOKEN: OTHER_TOKEN, HABEAS_TEST_PERSON: SUBSCRIPTION } = process.env;
const GROUP = "Trees";

const signing = (token) => ({
  signRequest: async (request) => {
    request.headers.set("Authorization", `Bearer ${token}`);
    return request;
  },
});
const experimentation = (token) => new MLTeamAccountManagementClient(signing(token), SUBSCRIPTION, { baseUri: ENDPOINT });
const compute = (token) => new MachineLearningComputeManagementClient(signing(token), SUBSCRIPTION, { baseUri: ENDPOINT });
const names = (list) => list.map((one) => one.name);
const path = (rest) => `${ENDPOINT}/subscriptions/${SUBSCRIPTION}${rest}`;

async function experiments() {
  const client = experimentation(TOKEN);
  const accounts = watch("accounts", client.accounts);
  const workspaces = watch("workspaces", client.workspaces);
  const projects = watch("projects", client.projects);
  const operations = watch("operations", client.operations);
  check("operations", names(await operations.list()).includes("Microsoft.MachineLearningExperimentation/accounts/read"));

  const account = {
    location: "here",
    tags: { team: "forest" },
    vsoAccountId: "/subscriptions/v",
    keyVaultId: "/subscriptions/k",
    seats: "3",
    friendlyName: "The forest",
    storageAccount: { storageAccountId: "/subscriptions/s", accessKey: "a key" },
  };
  const made = await accounts.createOrUpdate(GROUP, "Forest", account);
  check("made", made._response.status === 201 && made.provisioningState === "Succeeded" && made.accountId.length === 36);
  check("its key is told to nobody", made.storageAccount.storageAccountId === "/subscriptions/s" && made.storageAccount.accessKey === "");
  check("its discovery", made.discoveryUri === `${ENDPOINT}/discovery` && made.creationDate instanceof Date);
  const again = await accounts.createOrUpdate(GROUP, "Forest", { ...account, description: "trees" });
  check("made again", again._response.status === 200 && again.accountId === made.accountId && again.description === "trees");
  const shown = await accounts.get(GROUP, "Forest");
  const back = await accounts.createOrUpdate(GROUP, "Forest", { ...shown, description: "all trees" });
  check("sent back", back._response.status === 200 && back.description === "all trees" && back.vsoAccountId === made.vsoAccountId);
  const changed = await accounts.update(GROUP, "Forest", { tags: { a: "b" }, seats: "4", storageAccountKey: "other" });
  check("changed in part", changed.seats === "4" && changed.tags.a === "b" && changed.friendlyName === "The forest");
  check("found", (await accounts.get(GROUP.toLowerCase(), "FOREST")).id === made.id);
  await accounts.createOrUpdate(GROUP, "Larches", account);
  await accounts.createOrUpdate("Stones", "Quarry", account);
  check("by group", `${names(await accounts.listByResourceGroup(GROUP))}` === "Forest,Larches");
  check("by subscription", `${names(await accounts.list())}` === "Forest,Larches,Quarry");
  const paged = async (page, list) => {
    const found = [];
    for (let next = `${list}?api-version=2017-05-01-preview&$top=1`; next; ) {
      const one = await page(next);
      found.push(...names(one));
      next = one.nextLink;
    }
    return `${found}`;
  };
  const provider = "/providers/Microsoft.MachineLearningExperimentation/accounts";
  const group = path(`/resourceGroups/${GROUP}${provider}`);
  check("pages of a group", (await paged((next) => accounts.listByResourceGroupNext(next), group)) === "Forest,Larches");
  check("pages of all", (await paged((next) => accounts.listNext(next), path(provider))) === "Forest,Larches,Quarry");

  const workspace = await workspaces.createOrUpdate(GROUP, "Forest", "Pines", { location: "here", friendlyName: "The pines" });
  check("a workspace", workspace.accountId === made.accountId && workspace.friendlyName === "The pines");
  check("found", (await workspaces.get(GROUP, "Forest", "pines")).workspaceId === workspace.workspaceId);
  check("changed", (await workspaces.update(GROUP, "Forest", "Pines", { description: "needles" })).description === "needles");
  await workspaces.createOrUpdate(GROUP, "Forest", "Beeches", { location: "here", friendlyName: "The beeches" });
  check("workspaces", `${names(await workspaces.listByAccounts("Forest", GROUP))}` === "Pines,Beeches");
  check("their pages", (await paged((next) => workspaces.listByAccountsNext(next), `${group}/Forest/workspaces`)) === "Pines,Beeches");

  const project = await projects.createOrUpdate(GROUP, "Forest", "Pines", "Cones", { location: "here", friendlyName: "Cones", gitrepo: "https://example.org/" });
  check("a project", project.workspaceId === workspace.workspaceId && project.gitrepo === "https://example.org/");
  check("found", (await projects.get(GROUP, "Forest", "Pines", "cones")).projectId === project.projectId);
  check("changed", (await projects.update(GROUP, "Forest", "Pines", "Cones", { friendlyName: "All cones" })).friendlyName === "All cones");
  await projects.createOrUpdate(GROUP, "Forest", "Pines", "Needles", { location: "here", friendlyName: "Needles" });
  check("projects", `${names(await projects.listByWorkspace("Forest", "Pines", GROUP))}` === "Cones,Needles");
  const below = `${group}/Forest/workspaces/Pines/projects`;
  check("their pages", (await paged((next) => projects.listByWorkspaceNext(next), below)) === "Cones,Needles");

  await refused("none", 404, "ResourceNotFound", () => accounts.get(GROUP, "Nothing"));
  await refused("a stranger", 404, "SubscriptionNotFound", () => experimentation(OTHER_TOKEN).accounts.get(GROUP, "Forest"));
  await refused("nobody", 401, "AuthenticationFailed", () => experimentation("x.y.z").accounts.get(GROUP, "Forest"));

  const statuses = [];
  statuses.push(await projects.deleteMethod(GROUP, "Forest", "Pines", "Cones"));
  statuses.push(await workspaces.deleteMethod(GROUP, "Forest", "Pines"));
  statuses.push(await accounts.deleteMethod(GROUP, "Forest"));
  statuses.push(await accounts.deleteMethod(GROUP, "Forest"));
  check("deleted", `${statuses.map((one) => one._response.status)}` === "200,200,200,204");
  check("with a receipt", statuses[0]._response.headers.get("x-habeas-receipt").length === 36);
  await refused("with what stood in it", 404, "ParentResourceNotFound", () => projects.get(GROUP, "Forest", "Pines", "Needles"));
}

async function clusters() {
  const client = compute(TOKEN);
  const operations = watch("compute", client.machineLearningCompute);
  const all = watch("clusters", client.operationalizationClusters);
  const available = (await operations.listAvailableOperations()).value;
  check("operations", names(available).includes("Microsoft.MachineLearningCompute/operationalizationClusters/read"));
  const cluster = {
    location: "here",
    clusterType: "ACS",
    containerService: {
      orchestratorType: "Kubernetes",
      orchestratorProperties: { servicePrincipal: { clientId: "client", secret: "a secret" } },
      systemServices: [{ systemServiceType: "ScoringFrontEnd" }],
      agentCount: 3,
    },
    globalServiceConfiguration: { ssl: { status: "Enabled", cert: "cert", key: "a key" }, autoScale: { status: "Enabled", minReplicas: 2 } },
  };
  const made = await all.createOrUpdate(GROUP, "Woods", cluster);
  check("made", made.provisioningState === "Succeeded" && made.containerService.agentCount === 3 && made.containerService.masterCount === 1);
  check("scaled", made.globalServiceConfiguration.autoScale.maxReplicas === 100 && made.globalServiceConfiguration.ssl.key === undefined);
  const begun = await all.beginCreateOrUpdate(GROUP, "Groves", { location: "here", clusterType: "Local" });
  check("begun", (await begun.pollUntilFinished()).status === 200 || begun.getOperationStatus() === "Succeeded");
  check("found", (await all.get(GROUP, "woods")).id === made.id);
  check("changed", (await all.update(GROUP, "Woods", { tags: { a: "b" } })).tags.a === "b");
  const keys = await all.listKeys(GROUP, "Woods");
  check("keys", keys.containerService.servicePrincipalConfiguration.secret === "a secret" && keys.sslConfiguration.key === "a key");
  check("no updates", (await all.checkSystemServicesUpdatesAvailable(GROUP, "Woods")).updatesAvailable === "No");
  check("updated", (await all.updateSystemServices(GROUP, "Woods")).updateStatus === "Succeeded");
  const updating = await all.beginUpdateSystemServices(GROUP, "Woods");
  await updating.pollUntilFinished();
  check("by group", `${names(await all.listByResourceGroup(GROUP))}` === "Woods,Groves");
  check("by subscription", `${names(await all.listBySubscriptionId())}` === "Woods,Groves");
  // This client adds the version once more to the address of the next page.
  const provider = "/providers/Microsoft.MachineLearningCompute/operationalizationClusters?api-version=2017-08-01-preview&$top=1";
  for (const [list, next] of [
    [path(`/resourceGroups/${GROUP}${provider}`), (link) => all.listByResourceGroupNext(link)],
    [path(provider), (link) => all.listBySubscriptionIdNext(link)],
  ]) {
    const first = await next(list);
    const second = await next(first.nextLink);
    check("pages", `${names(first)},${names(second)}` === "Woods,Groves" && second.nextLink === undefined);
  }
  await all.deleteMethod(GROUP, "Woods", { deleteAll: true });
  const deleting = await all.beginDeleteMethod(GROUP, "Groves");
  await deleting.pollUntilFinished();
  check("gone", (await all.listBySubscriptionId()).length === 0);
  await all.deleteMethod(GROUP, "Woods");
  await refused("none", 404, "ResourceNotFound", () => all.get(GROUP, "Woods"));
}

await experiments();
await clusters();
covered();
finish("@azure/arm-machinelearningexperimentation 1.2.1, @azure/arm-machinelearningcompute 2.1.1");
