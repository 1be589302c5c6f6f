# SPDX-License-Identifier: MIT
# Makes one image of images.yaml: installs its list of packages on the image below it.
ARG BASE
FROM ${BASE}
ARG PACKAGES
ARG SUITE=""
ENV DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
# A mirror that stands still keeps an old signature of a moving suite. The signature is checked, but its age is not.
# A second suite comes from the same origin as the first, and wins only for what this image installs.
RUN set -eu; \
    if [ -n "${SUITE}" ]; then \
        origin=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null \
            | sed -n -E 's/^deb (\[[^]]*\] )?([^ ]+) .*/\2/p; s/^URIs: *([^ ]+).*/\1/p' | head -n 1); \
        echo "deb [check-valid-until=no] ${origin} ${SUITE} main" > /etc/apt/sources.list.d/second.list; \
        printf 'Package: *\nPin: release n=%s\nPin-Priority: 100\n' "${SUITE}" > /etc/apt/preferences.d/second; \
    fi; \
    apt-get update; \
    apt-get install -y --no-install-recommends ${SUITE:+-t ${SUITE}} ${PACKAGES}; \
    apt-get clean; \
    rm -rf /var/lib/apt/lists/* /var/log/* /var/cache/ldconfig/aux-cache
