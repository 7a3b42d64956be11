from sqlalchemy import text


def test_x(engine, owner_url, superuser_url, redis_url, settings):
    with engine.connect() as c:
        assert c.execute(text("select count(*) from pg_class where relname='invoice'")).scalar() == 1
    assert settings.redis_url
