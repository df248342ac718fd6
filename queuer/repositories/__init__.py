"""The SQL. Each function takes a `Session` first, runs one statement in its transaction, and returns plain values or
ORM instances. None commits. The queue's schema comes from the session's `schema_translate_map`, else from the search
path. They check nothing: that is the operations' part.

    with Session(engine) as session, session.begin():
        jobs.insert_one(session, NewJob(rid=uuid4(), task_name="greet", parameters=["world"]))
        claimed = claims.claim(session, worker_rid, ["greet"], limit=1)

docs/repositories.md says which of them are public.
"""
