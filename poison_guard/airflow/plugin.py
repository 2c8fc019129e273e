"""The pages inside Airflow's own: the same app, entered by Airflow's sign-in and roles, mounted below /poison-guard."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from airflow.plugins_manager import AirflowPlugin

if TYPE_CHECKING:
    from fastapi import Request

    from poison_guard.web.people import Role, Visitor

__all__ = ["AirflowWay", "PoisonGuardPlugin"]


class AirflowWay:
    """People whom Airflow has signed in; what they may do with a feed is what they may do with its DAG.

    Who may read ``guard_FEED`` is a viewer, who may answer its human-in-the-loop tasks a reviewer, and who may edit
    connections besides an admin.
    """

    login = False

    async def person(self, request: Request) -> Visitor | None:
        """Return who is signed in to Airflow; None for nobody."""
        from airflow.api_fastapi.core_api.security import bearer_scheme, get_user
        from fastapi import HTTPException

        from poison_guard.web.people import Visitor

        given = await bearer_scheme(request)
        try:
            user = await get_user(request, None, given)
        except HTTPException:
            return None
        if user is None:
            return None
        return Visitor(user.get_name(), "airflow", _roles_of(user), str(user.get_id()), ambient=given is None)


def _roles_of(user: Any) -> Callable[[str], Role]:
    """Return what says the role of a user in a feed; of no feed, in any DAG."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
    from airflow.models import DagModel

    from poison_guard.web.people import Role

    def role_in(feed: str) -> Role:
        manager = get_auth_manager()
        dag_id = f"guard_{feed}"
        details = DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id)) if feed else None
        if not manager.is_authorized_dag(method="GET", details=details, user=user):
            return Role.NOBODY
        detail = DagAccessEntity.HITL_DETAIL
        if not manager.is_authorized_dag(method="PUT", access_entity=detail, details=details, user=user):
            return Role.VIEWER
        return Role.ADMIN if manager.is_authorized_connection(method="PUT", user=user) else Role.REVIEWER

    return role_in


class _LazyApp:
    """Makes the app on the first request: the scheduler and the DAG processor load plugins too, and never ask it."""

    def __init__(self) -> None:
        self._app: Any = None

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        if self._app is None:
            from poison_guard.airflow.feeds import guard_home
            from poison_guard.web.app import create_app

            self._app = create_app(guard_home(), AirflowWay())
        await self._app(scope, receive, send)


class PoisonGuardPlugin(AirflowPlugin):
    """What Airflow reads from the entry point ``airflow.plugins``: the app, and the links to it."""

    name = "poison_guard"
    fastapi_apps = [{"app": _LazyApp(), "url_prefix": "/poison-guard", "name": "poison_guard"}]  # noqa: RUF012  Airflow's name
    external_views = [  # noqa: RUF012  Airflow's own names
        {
            "name": "Quarantine",
            "href": "poison-guard/",
            "destination": "nav",
            "category": "browse",
            "url_route": "poison_guard",
        },
        {
            "name": "Quarantine of this feed",
            "href": "poison-guard/dag?dag_id={DAG_ID}",
            "destination": "dag",
            "url_route": "poison_guard_feed",
        },
    ]
