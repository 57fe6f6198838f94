"""Tokens, as a feature of the service: limits alone. `bootstrap` authenticates by them."""

from __future__ import annotations

from app.feature import Api, Feature, Parts


def _api(parts: Parts) -> Api:
    if not parts.settings.oidc_issuers:
        return Api(routes=())
    # Not from the top: PyJWT is loaded where there are issuers alone.
    from app.oidc.keyset import NEW_KEY_SECONDS, REFRESH_SECONDS
    from app.oidc.service import SKEW_SECONDS

    return Api(
        routes=(),
        limits={
            "token_clock_skew_seconds": SKEW_SECONDS,
            "token_new_signing_key_max_seconds": NEW_KEY_SECONDS,
            "token_withdrawn_signing_key_max_seconds": REFRESH_SECONDS,
        },
    )


FEATURE = Feature(api=_api)
