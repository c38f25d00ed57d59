"""A Django project in one file.

gunicorn --workers 2 --threads 4 django_app:application
"""

import os

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, JsonResponse
from django.urls import path
from wsgi_queue import get_queue

from nasq import NoRespondersError


def new_order(request: HttpRequest) -> JsonResponse:
    try:
        reply = get_queue().request("orders.new", {"pid": os.getpid()}, timeout=5.0)
    except NoRespondersError:
        return JsonResponse({"error": "no worker is running"}, status=503)
    return JsonResponse({"pid": os.getpid(), "reply": reply.text})


urlpatterns = [path("orders/new", new_order)]

settings.configure(ROOT_URLCONF=__name__, SECRET_KEY="for this example", ALLOWED_HOSTS=["*"])
django.setup()
application = WSGIHandler()
