//! No column that the data map does not name, and no table whose rows do not hang on a holder.

use std::collections::BTreeSet;

use habeas_core::data_map::COLUMNS;

use crate::deployment::{Deployment, engines};

#[tokio::test(flavor = "multi_thread")]
async fn every_column_of_a_fresh_database_is_in_the_data_map() {
    let _lock = crate::canary::protected().await;
    let claimed: BTreeSet<(String, String)> = COLUMNS
        .iter()
        .flat_map(|(table, columns)| {
            columns.iter().map(|(column, _)| ((*table).to_owned(), (*column).to_owned()))
        })
        .collect();
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let found: BTreeSet<(String, String)> =
            deployment.server().app().store().columns().await.unwrap().into_iter().collect();
        assert_eq!(found, claimed);
    }
}

#[test]
fn every_table_reaches_its_holder_by_foreign_keys() {
    let text = concat!(
        include_str!("../../../store/migrations/0001_tree.sql"),
        include_str!("../../../store/migrations/0002_metrics.sql"),
        include_str!("../../../store/migrations/0003_indexes.sql"),
        include_str!("../../../store/migrations/0004_makers.sql")
    );
    for table in text.split("CREATE TABLE ").skip(1) {
        let (name, rest) = table.split_once(' ').unwrap();
        let body = rest.split_once(");").unwrap().0;
        let reaches = ["REFERENCES holder", "REFERENCES resource", "REFERENCES metric_series"]
            .iter()
            .any(|key| body.contains(key));
        assert!(reaches || name == "holder", "{name} reaches no holder");
    }
}
