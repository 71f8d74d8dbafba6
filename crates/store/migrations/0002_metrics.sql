CREATE TABLE metric_series (
    id BIGINT PRIMARY KEY,
    resource BYTEA NOT NULL REFERENCES resource (id) ON DELETE CASCADE,
    name_mac BYTEA NOT NULL,
    name BYTEA NOT NULL,
    last_step BIGINT NOT NULL,
    last_time BIGINT NOT NULL,
    last_value BIGINT NOT NULL
);
CREATE UNIQUE INDEX metric_series_by_name ON metric_series (resource, name_mac);
CREATE INDEX metric_series_by_value ON metric_series (name_mac, last_value, resource);

CREATE TABLE metric_point (
    series BIGINT NOT NULL REFERENCES metric_series (id) ON DELETE CASCADE,
    time BIGINT NOT NULL,
    step BIGINT NOT NULL,
    value BIGINT NOT NULL,
    PRIMARY KEY (series, time, step, value)
);
