CREATE TABLE holder (
    id BYTEA PRIMARY KEY,
    kind SMALLINT NOT NULL,
    state SMALLINT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE resource (
    id BYTEA PRIMARY KEY,
    kind SMALLINT NOT NULL,
    parent BYTEA REFERENCES resource (id) ON DELETE CASCADE,
    holder BYTEA NOT NULL REFERENCES holder (id) ON DELETE RESTRICT,
    container BYTEA NOT NULL,
    generation BIGINT NOT NULL,
    name_mac BYTEA,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    expires_at BIGINT,
    doc BYTEA NOT NULL
);
CREATE UNIQUE INDEX resource_by_name ON resource (parent, kind, name_mac);
CREATE INDEX resource_by_parent ON resource (parent, kind, created_at, id);
CREATE INDEX resource_by_holder ON resource (holder, kind, id);
CREATE INDEX resource_by_container ON resource (container, id);
CREATE INDEX resource_by_expiry ON resource (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE edge (
    source BYTEA NOT NULL REFERENCES resource (id) ON DELETE CASCADE,
    target BYTEA NOT NULL REFERENCES resource (id) ON DELETE CASCADE,
    relation SMALLINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (source, relation, target)
);
CREATE INDEX edge_by_target ON edge (target, relation, source);

CREATE TABLE attr (
    resource BYTEA NOT NULL REFERENCES resource (id) ON DELETE CASCADE,
    key SMALLINT NOT NULL,
    position SMALLINT NOT NULL,
    number DOUBLE PRECISION,
    mac BYTEA,
    PRIMARY KEY (resource, key, position)
);
CREATE INDEX attr_by_mac ON attr (mac, key) WHERE mac IS NOT NULL;

CREATE TABLE mention (
    resource BYTEA NOT NULL REFERENCES resource (id) ON DELETE CASCADE,
    person BYTEA NOT NULL REFERENCES holder (id) ON DELETE CASCADE,
    role SMALLINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (resource, person, role)
);
CREATE INDEX mention_by_person ON mention (person, role);

CREATE TABLE blob (
    id BYTEA PRIMARY KEY,
    resource BYTEA NOT NULL REFERENCES resource (id) ON DELETE CASCADE,
    state SMALLINT NOT NULL,
    size BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX blob_by_resource ON blob (resource);
CREATE INDEX blob_by_state ON blob (state, created_at);

CREATE TABLE task (
    id BYTEA PRIMARY KEY,
    kind SMALLINT NOT NULL,
    state SMALLINT NOT NULL,
    subject BYTEA,
    holder BYTEA NOT NULL REFERENCES holder (id) ON DELETE RESTRICT,
    payload BYTEA NOT NULL,
    run_after BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    lease_until BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX task_by_state ON task (state, run_after);
CREATE INDEX task_by_subject ON task (subject, kind);
