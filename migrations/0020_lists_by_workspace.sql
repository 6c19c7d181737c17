-- Lists of one workspace cost the same however much the others have.
create index approvals_waiting_by_workspace on approvals (workspace_id, expires_at, approval_id) where status = 'waiting';
create index approvals_by_workspace on approvals (workspace_id, requested_at, approval_id);
create index dead_letters_by_workspace on dead_letters (workspace_id, sequence);
