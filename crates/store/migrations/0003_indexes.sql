CREATE INDEX resource_by_kind ON resource (kind, id);
CREATE INDEX holder_by_state ON holder (state);
CREATE INDEX task_by_holder ON task (holder);
