"""What is left out of the requests that schemathesis makes of the HTTP door's description, each with its reason."""

import schemathesis


@schemathesis.hook
def filter_case(ctx, case):
    headers = {name.lower() for name in (case.headers or {})}
    body = case.body if isinstance(case.body, dict) else {}
    # A header that a server does not know is to be ignored, and is none that a description could forbid.
    if "x-schemathesis-unknown-property" in headers:
        return False
    # A lifetime in the query or in the body wins over X-TTL, whatever that says.
    if "x-ttl" in headers and ("ttl" in (case.query or {}) or "ttl" in body):
        return False
    # A key that the door chooses is new: there is nothing that conditions or names could be about.
    chosen = case.operation.path == "/raw/put" and "key" not in body
    return not (chosen and headers & {"if-match", "if-none-match", "idempotency-key"})
