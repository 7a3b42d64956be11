"""Django REST framework, in one file: no sign-in, no tenant wall, no limit, no monitoring."""

# mypy: ignore-errors

from __future__ import annotations

import os
from urllib.parse import unquote, urlsplit

import django
from django.conf import settings

_database = urlsplit(os.environ["PEER_DATABASE_URL"])
settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="used in benchmarks and nowhere else",  # noqa: S106
    USE_TZ=True,
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": _database.path.lstrip("/"),
            "USER": _database.username,
            "PASSWORD": unquote(_database.password or ""),
            "HOST": _database.hostname,
            "PORT": _database.port,
            "CONN_MAX_AGE": 600,
        }
    },
    INSTALLED_APPS=["rest_framework"],
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": [],
        "DEFAULT_PERMISSION_CLASSES": [],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "UNAUTHENTICATED_USER": None,
    },
)
django.setup()

from django.core.wsgi import get_wsgi_application  # noqa: E402  Django wants its settings first
from django.db import models  # noqa: E402
from django.db.models import Count, OuterRef, Subquery  # noqa: E402
from django.urls import path  # noqa: E402
from rest_framework import serializers  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402

LIMIT = 50


class Unit(models.Model):
    id = models.UUIDField(primary_key=True)
    agency_id = models.UUIDField()
    property_id = models.UUIDField()
    status = models.TextField()

    class Meta:
        app_label = "peers"
        db_table = "unit"
        managed = False


class Property(models.Model):
    id = models.UUIDField(primary_key=True)
    agency_id = models.UUIDField()
    name = models.TextField()
    code = models.TextField()
    kind = models.TextField()
    address = models.TextField(null=True)
    location = models.TextField(null=True)
    county = models.TextField(null=True)
    latitude = models.DecimalField(max_digits=9, decimal_places=6, null=True)
    longitude = models.DecimalField(max_digits=9, decimal_places=6, null=True)
    status = models.TextField()
    owner_id = models.UUIDField(null=True)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()
    version = models.IntegerField()

    class Meta:
        app_label = "peers"
        db_table = "property"
        managed = False


class PropertySerializer(serializers.ModelSerializer):
    unit_count = serializers.IntegerField()
    occupied_count = serializers.IntegerField()

    class Meta:
        model = Property
        exclude = ("agency_id",)


def _counted(units):
    by_property = units.order_by().values("property_id").annotate(n=Count("*")).values("n")
    return Subquery(by_property)


class Properties(APIView):
    def get(self, request):  # noqa: ARG002
        units = Unit.objects.filter(agency_id=OuterRef("agency_id"), property_id=OuterRef("id"))
        found = Property.objects.filter(agency_id=os.environ["PEER_AGENCY"]).order_by("-id")
        found = found.annotate(
            unit_count=_counted(units), occupied_count=_counted(units.filter(status="OCCUPIED"))
        )
        rows = list(found[: LIMIT + 1])
        has_more = len(rows) > LIMIT
        next_cursor = str(rows[LIMIT - 1].id) if has_more else None
        return Response(
            {
                "data": PropertySerializer(rows[:LIMIT], many=True).data,
                "pagination": {"limit": LIMIT, "next_cursor": next_cursor, "has_more": has_more},
            }
        )


urlpatterns = [path("properties", Properties.as_view())]
app = get_wsgi_application()
