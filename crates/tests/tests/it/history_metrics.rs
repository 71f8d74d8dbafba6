//! Metrics of run history, by plain HTTP: every type, the operations of 2018, long series.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::deployment::{Deployment, engines};
use crate::history::{Historian, scalar, table};

#[tokio::test(flavor = "multi_thread")]
async fn metrics_of_every_type_read_back() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let historian = Historian::new(&deployment, &someone).await;
        historian.experiment("leaves").await;
        historian.run("leaves", "r").await;
        let columns = json!({ "x": "int", "y": "double" });
        let list = json!({ "name": "list", "columns": { "list": "string" }, "properties": { "uxMetricType": "azureml.v1.list" },
            "value": [{ "metricId": "l1", "data": { "list": "a" } }, { "metricId": "l2", "data": { "list": "b" } }] });
        let matrix = json!({ "name": "cm", "columns": { "cm": "Artifact" }, "properties": { "uxMetricType": "azureml.v2.confusion_matrix" },
            "value": [{ "metricId": "m", "data": { "cm": "aml://artifactId/ExperimentRun/dcid.r/cm" } }] });
        let mut counted = scalar("acc", "c", json!(0.25));
        counted["value"][0]["step"] = json!(40);
        let body = json!({ "reportErrors": true, "values": [
            scalar("loss", "1", json!(2)), scalar("loss", "2", json!(2)), scalar("loss", "3", json!("NaN")),
            counted, scalar("note", "n", json!("text")), list, matrix,
            table("rows", "t1", columns.clone(), json!({ "x": 1, "y": 0.5 })),
            table("rows", "t2", json!({ "x": "int" }), json!({ "x": 2 })),
        ] });
        // A batch that a client repeats, since it does not know its end, adds nothing.
        for _ in 0..2 {
            assert_eq!(
                historian.ok("POST", "/metric:/runs/r/batch", body.clone()).await,
                json!({ "errors": [] })
            );
        }
        let full = async |name: &str| {
            let body = json!({ "metricName": name });
            let full = historian.ok("POST", "/metric:/runs/r/full", body).await;
            let values = full["value"].as_array().unwrap();
            let data: Vec<Value> = values.iter().map(|value| value["data"][name].clone()).collect();
            (data, values.iter().map(|value| value["step"].clone()).collect::<Vec<_>>(), full)
        };
        let (values, steps, _) = full("loss").await;
        // Equal values of one moment are as many values.
        assert_eq!(values, [json!(2.0), json!(2.0), json!("NaN")]);
        assert_eq!(steps, [0, 1, 2]);
        assert_eq!(full("acc").await.1, [40]);
        assert_eq!(full("note").await.0, ["text"]);
        assert_eq!(full("list").await.0, ["a", "b"]);
        assert_eq!(full("cm").await.0, ["aml://artifactId/ExperimentRun/dcid.r/cm"]);
        let (_, _, rows) = full("rows").await;
        insta::assert_json_snapshot!("history_table", rows);
        let listed = historian.ok("POST", "/metric:/runs/r/list", json!({})).await;
        let keys: Vec<&Value> =
            listed["value"].as_array().unwrap().iter().map(|one| &one["metricKey"]["name"]).collect();
        assert_eq!(keys, ["acc", "cm", "list", "loss", "note", "rows"]);
        // What is a number, MLflow shows.
        let run = historian.mlflow("GET", "/runs/get?run_id=r", json!(null)).await;
        let metrics = run["run"]["data"]["metrics"].as_array().unwrap();
        assert_eq!(metrics.iter().map(|metric| &metric["key"]).collect::<Vec<_>>(), ["acc", "loss"]);

        // A body as Python writes it: JSON has no such numbers.
        let text = scalar("raw", "r", json!("?")).to_string().replace("\"?\"", "-Infinity");
        let request = Request::post(format!("/metric/v2.0{}/runs/r/batch", historian.scope))
            .header("authorization", format!("Bearer {}", deployment.token(&someone).await))
            .header("content-type", "application/json-patch+json; charset=utf-8")
            .body(Body::from(format!("{{\"values\": [{text}]}}")))
            .unwrap();
        assert_eq!(deployment.send(request).await.0, 200);
        assert_eq!(full("raw").await.0, ["-Infinity"]);

        // What of a batch cannot be read is told, and the rest is logged.
        let body = json!({ "values": [scalar("good", "g", json!(1)), { "name": "bad", "value": [] }] });
        let (status, answer) = historian.call("POST", "/metric:/runs/r/batch", body).await;
        assert_eq!((status, &answer["errors"][0]["metric"]["name"]), (207, &json!("bad")), "{answer}");
        assert_eq!(full("good").await.0, [json!(1.0)]);
        let (status, _) =
            historian.call("POST", "/metric:/runs/r/full", json!({ "metricName": "none" })).await;
        assert_eq!(status, 404);
        assert_eq!(
            historian.ok("GET", "/experiments/leaves/runs/r/metricsingest/wait", json!(null)).await,
            json!({})
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_and_other_values_of_one_name_come_together() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let historian = Historian::new(&deployment, &someone).await;
        historian.experiment("leaves").await;
        historian.run("leaves", "r").await;
        for (id, time, column, value) in [
            ("1", "2026-01-15T08:42:01Z", "int", json!(1)),
            ("2", "2026-01-15T08:42:02Z", "string", json!("text")),
            ("3", "2026-01-15T08:42:03Z", "double", json!(2.5)),
        ] {
            let metric = json!({ "name": "x", "columns": { "x": column }, "properties": { "uxMetricType": "azureml.v1.scalar" },
                "value": [{ "metricId": id, "createdUtc": time, "data": { "x": value } }] });
            historian.ok("POST", "/metric:/runs/r/batch", json!({ "values": [metric] })).await;
        }
        let full = async |body: Value| historian.ok("POST", "/metric:/runs/r/full", body).await;
        let data = |full: &Value| -> Vec<Value> {
            full["value"].as_array().unwrap().iter().map(|value| value["data"].clone()).collect()
        };
        let all = full(json!({ "metricName": "x" })).await;
        assert_eq!(data(&all), [json!({ "x": 1.0 }), json!({ "x": "text" }), json!({ "x": 2.5 })]);
        // A column of doubles the client would read as numbers.
        assert_eq!(
            (&all["columns"], &all["properties"]["uxMetricType"]),
            (&json!({ "x": "string" }), &json!("azureml.v1.scalar"))
        );
        // Every value has an id, by which it is found.
        for value in all["value"].as_array().unwrap() {
            let path = format!("/experiments/leaves/metrics/{}", value["metricId"].as_str().unwrap());
            assert_eq!(historian.ok("GET", &path, json!(null)).await["cells"], json!([value["data"]]));
        }
        let sampled = full(json!({ "metricName": "x", "maxPoints": 1 })).await;
        assert_eq!(data(&sampled), [json!({ "x": 1.0 }), json!({ "x": "text" })]);
        let later = full(json!({ "metricName": "x", "startTime": "2026-01-15T08:42:02Z" })).await;
        assert_eq!(data(&later), [json!({ "x": "text" }), json!({ "x": 2.5 })]);

        // A number among the rows of a table is a row.
        let body = json!({ "values": [scalar("t", "4", json!(1)), table("t", "5", json!({ "a": "int" }), json!({ "a": 7 }))] });
        historian.ok("POST", "/metric:/runs/r/batch", body).await;
        let rows = full(json!({ "metricName": "t" })).await;
        assert_eq!(rows["properties"]["uxMetricType"], "azureml.v1.table");
        assert_eq!(data(&rows), [json!({ "a": null, "t": 1.0 }), json!({ "a": 7, "t": "NaN" })]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_of_2018_are_the_same_metrics() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let historian = Historian::new(&deployment, &someone).await;
        // 2018 names no experiment, and puts a project into the address.
        let project = "/projects/oaks";
        historian.ok("POST", &format!("{project}/runs"), json!({ "runId": "r", "name": "first" })).await;
        let metric = |id: &str, name: &str, sort: &str, cells: Value| {
            json!({ "runId": "r", "metricId": id, "metricType": sort, "createdUtc": "2026-01-15T08:42:02.060942Z", "name": name,
                "numCells": 1, "cells": cells, "schema": { "numProperties": 1, "properties": [{ "propertyId": name, "name": name, "type": "float" }] } })
        };
        let path = format!("{project}/runs/r/runmetrics");
        historian.ok("POST", &path, metric("1", "loss", "azureml.v1.scalar", json!([{ "loss": 0.5 }]))).await;
        let body = json!({ "values": [
            metric("2", "loss", "azureml.v1.scalar", json!([{ "loss": 0.25 }])),
            metric("3", "list", "azureml.v1.list", json!([{ "list": 1 }, { "list": 2 }])),
        ] });
        for _ in 0..2 {
            historian.ok("POST", "/experiments/Default/runs/r/batch/metrics", body.clone()).await;
        }
        let mut image = metric("4", "picture", "azureml.v1.image", json!([{ "picture": null }]));
        image["dataLocation"] = json!("aml://artifactId/picture");
        historian.ok("POST", &path, image).await;

        let filter = "$filter=RunId%20eq%20r";
        let all = historian.ok("GET", &format!("{project}/runmetrics?{filter}"), json!(null)).await;
        let all = all["value"].as_array().unwrap();
        let cells: Vec<&Value> = all.iter().map(|metric| &metric["cells"]).collect();
        assert_eq!(
            cells,
            [
                &json!([{ "loss": 0.5 }]),
                &json!([{ "loss": 0.25 }]),
                &json!([{ "list": 1 }, { "list": 2 }]),
                &json!([{ "picture": null }])
            ]
        );
        insta::assert_json_snapshot!("history_metric_of_2018", all[2]);
        assert_eq!(all[3]["dataLocation"], "aml://artifactId/picture");
        for metric in all {
            let id = metric["metricId"].as_str().unwrap();
            assert_eq!(
                historian.ok("GET", &format!("{project}/runmetrics/{id}"), json!(null)).await,
                *metric
            );
            assert_eq!(
                historian.ok("GET", &format!("/experiments/Default/metrics/{id}"), json!(null)).await,
                *metric
            );
        }
        // One at a time.
        let (mut token, mut one_by_one) = (String::new(), Vec::new());
        loop {
            let body = json!({ "filter": "RunId eq r", "top": 1, "continuationToken": token });
            let page = historian.ok("POST", "/experiments/Default/metrics:query", body).await;
            one_by_one.extend(page["value"].as_array().unwrap().clone());
            match page["continuationToken"].as_str() {
                Some(next) => token = next.to_owned(),
                None => break,
            }
        }
        assert_eq!(&one_by_one, all);
        let body = json!({ "filter": "RunId eq r and MetricType eq azureml.v1.list" });
        let lists = historian.ok("POST", "/experiments/Default/metrics:query", body).await;
        assert_eq!(lists["value"].as_array().unwrap().len(), 1);
        // 1.61 reads what 2018 logged.
        let full = historian.ok("POST", "/metric:/runs/r/full", json!({ "metricName": "picture" })).await;
        assert_eq!(full["value"][0]["data"], json!({ "picture": "aml://artifactId/picture" }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_series_streams_and_is_sampled() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let historian = Historian::new(&deployment, &someone).await;
        historian.experiment("leaves").await;
        historian.run("leaves", "r").await;
        let values: Vec<Value> = (0..25_001)
            .map(|step| json!({ "step": step, "createdUtc": "2026-01-15T08:42:02Z", "data": { "loss": step } }))
            .collect();
        let body = json!({ "values": [{ "name": "loss", "columns": { "loss": "int" }, "value": values }] });
        historian.ok("POST", "/metric:/runs/r/batch", body).await;
        let full = historian.ok("POST", "/metric:/runs/r/full", json!({ "metricName": "loss" })).await;
        let steps: Vec<i64> =
            full["value"].as_array().unwrap().iter().map(|value| value["step"].as_i64().unwrap()).collect();
        assert_eq!(steps, (0..25_001).collect::<Vec<_>>());
        let body = json!({ "metricName": "loss", "maxPoints": 100 });
        let sampled = historian.ok("POST", "/metric:/runs/r/full", body).await;
        let steps: Vec<i64> = sampled["value"]
            .as_array()
            .unwrap()
            .iter()
            .map(|value| value["step"].as_i64().unwrap())
            .collect();
        assert_eq!((steps.len(), steps[0], steps[99]), (100, 0, 25_000));
        let body = json!({ "metricName": "loss", "startTime": "2027-01-01T00:00:00Z" });
        assert_eq!(historian.ok("POST", "/metric:/runs/r/full", body).await["value"], json!([]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_listed_in_the_order_of_their_runs_and_counted() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let historian = Historian::new(&deployment, &someone).await;
        historian.experiment("leaves").await;
        // Made in another order than that of their names.
        for run in ["b", "c", "a"] {
            historian.run("leaves", run).await;
            let list = json!({ "name": "list", "columns": { "list": "string" }, "properties": { "uxMetricType": "azureml.v1.list" },
                "value": [{ "metricId": format!("l{run}"), "data": { "list": "x" } }] });
            let values = json!([
                scalar("loss", &format!("1{run}"), json!(2)),
                scalar("loss", &format!("2{run}"), json!(1)),
                list
            ]);
            historian.ok("POST", &format!("/metric:/runs/{run}/batch"), json!({ "values": values })).await;
        }
        // As `get_metrics_by_run_ids` sends it, a page at a time.
        let listed = async |order: &str, filter: &str, top: usize| {
            let (mut token, mut runs) = (Value::Null, Vec::new());
            loop {
                let body =
                    json!({ "orderby": order, "filter": filter, "top": top, "continuationToken": token });
                let page = historian.ok("POST", "/experiments/leaves/metrics:query", body).await;
                assert_eq!(page.get("count"), None);
                let found = page["value"].as_array().unwrap().iter();
                runs.extend(found.map(|metric| metric["runId"].as_str().unwrap().to_owned()));
                token = page["continuationToken"].clone();
                if token.is_null() {
                    return runs.join("");
                }
            }
        };
        for top in [2, 100] {
            for (order, expected) in [
                ("", "bbbcccaaa"),
                ("RunId asc", "aaabbbccc"),
                ("RunId desc", "cccbbbaaa"),
                ("CreatedUtc", "bbbcccaaa"),
                ("CreatedUtc desc", "aaacccbbb"),
            ] {
                assert_eq!(listed(order, "", top).await, expected, "{order} {top}");
            }
            assert_eq!(listed("RunId desc", "RunId eq a or RunId eq c", top).await, "cccaaa");
        }
        for order in ["Name", "MetricId desc", "RunId,CreatedUtc"] {
            let body = json!({ "orderby": order });
            let (status, answer) = historian.call("POST", "/experiments/leaves/metrics:query", body).await;
            let said = answer["error"]["message"].as_str().unwrap();
            assert!(status == 400 && said.contains("RunId"), "{order}: {answer}");
        }

        // All that the filter finds, whatever the page has of it.
        for (query, expected, on_page) in [
            ("$top=1", 9, 1),
            ("$top=4&$orderby=RunId", 9, 4),
            ("$top=1&$filter=MetricType%20eq%20azureml.v1.list", 3, 1),
            ("$top=1&$filter=RunId%20eq%20none", 0, 0),
            // The values of a name are one metric then.
            ("$top=1&mergestrategytype=MergeToVector", 6, 1),
        ] {
            let path = format!("/experiments/leaves/metrics?$count=true&{query}");
            let page = historian.ok("GET", &path, json!(null)).await;
            let found = page["value"].as_array().unwrap().len();
            assert_eq!((&page["count"], found), (&json!(expected), on_page), "{query}: {page}");
        }

        // Metrics have no namespace: in one there is none of them.
        for (namespace, expected) in [(json!(null), 2), (json!(""), 2), (json!("other"), 0)] {
            let body = json!({ "metricNamespace": namespace });
            let found = historian.ok("POST", "/metric:/runs/a/list", body).await;
            assert_eq!(found["value"].as_array().unwrap().len(), expected, "{namespace}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_run_is_kept_and_its_container_is_its_own() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let historian = Historian::new(&deployment, &someone).await;
        historian.experiment("leaves").await;
        let run = "/experiments/leaves/runs/r";
        let queueing = json!({ "code": "QueueFull", "message": "no machine is free" });
        let body = json!({ "runId": "r", "dataContainerId": "dcid.r", "queueingInfo": queueing });
        historian.ok("PATCH", run, body).await;
        let shown = historian.ok("GET", run, json!(null)).await;
        assert_eq!((&shown["queueingInfo"], &shown["dataContainerId"]), (&queueing, &json!("dcid.r")));
        // What is shown can be sent back.
        historian.ok("PATCH", run, shown).await;
        for id in ["r", "s"] {
            let body = json!({ "runId": id, "dataContainerId": "dcid.other" });
            let path = format!("/experiments/leaves/runs/{id}");
            let (status, answer) = historian.call("PATCH", &path, body.clone()).await;
            let said = answer["error"]["message"].as_str().unwrap();
            assert!(status == 400 && said.contains("dataContainerId"), "{answer}");
            let batch = json!({ "runs": [body] });
            let batch = historian.ok("PATCH", "/experiments/leaves/batch/runs", batch).await;
            assert!(batch["errors"].get(id).is_some(), "{batch}");
        }
        assert_eq!(historian.call("GET", "/experiments/leaves/runs/s", json!(null)).await.0, 404);
    }
}
