# The daemon in a container. Any Debian-like image with node and npm on its path will do as a base, with Node 22.15 or newer:
#   docker build --build-arg BASE_IMAGE=node:26-trixie-slim -t webapi-plugin-host .
# What runs holds neither a package manager nor npm nor a tool that the daemon does not start. Programs of the base that your
# plugins start are named, and come with their libraries:
#   docker build --build-arg PROGRAMS="/usr/bin/ssh /usr/bin/env" …
# An npm configuration of your own comes in as a build secret: --secret id=npmrc,src=$HOME/.npmrc
ARG BASE_IMAGE=node:24-bookworm-slim

FROM ${BASE_IMAGE} AS build
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
RUN --mount=type=secret,id=npmrc \
  NPM_CONFIG_USERCONFIG=/run/secrets/npmrc npm ci --ignore-scripts --no-update-notifier
COPY . .
RUN npm run -s build && rm -rf dist/test dist/bench dist/.tsbuildinfo
# Production dependencies only, and of those only what runs: no types, source maps or sources.
RUN npm prune --omit=dev --ignore-scripts --no-update-notifier && rm -rf node_modules/@types \
  && find dist node_modules -type f \
    \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.cts' -o -name '*.d.mts' -o -name '*.md' \) ! -iname 'license*' -delete \
  && find dist node_modules -type d -empty -delete

FROM ${BASE_IMAGE} AS system
# The init that reaps what plugins leave behind; a base that has it already needs no mirror of Debian.
RUN test -x /usr/bin/tini || { apt-get update && apt-get install -y --no-install-recommends tini; }
ARG PROGRAMS=
COPY scripts/image-root.sh /image-root.sh
# The one place that the daemon writes to; a volume belongs there.
RUN /image-root.sh /image ${PROGRAMS} \
  && mkdir -p /image/var/lib/plugin-host && chown 65532:65532 /image/var/lib/plugin-host && chmod 700 /image/var/lib/plugin-host

FROM scratch
LABEL org.opencontainers.image.title="webapi-plugin-host" \
  org.opencontainers.image.description="Hosts WebAPI plugins for workflow engines" \
  org.opencontainers.image.licenses="Apache-2.0"
COPY --from=system /image/ /
WORKDIR /app
COPY --from=build /build/package.json /build/LICENSE /build/config.default.json ./
COPY --from=build /build/node_modules ./node_modules
COPY --from=build /build/dist ./dist
COPY scripts/healthcheck.mjs ./healthcheck.mjs
COPY scripts/image-entry.sh ./plugin-host
COPY scripts/image-config.json ./image-config.json
# Plugins are held by Node's permission model unless the configuration says otherwise.
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin NODE_ENV=production \
  STATE_DIRECTORY=/var/lib/plugin-host PLUGIN_HOST_DEFAULTS=/app/image-config.json
VOLUME /var/lib/plugin-host
# A number, so that Kubernetes can verify runAsNonRoot. Nothing in the image but the state's folder is writable by it.
USER 65532:65532
EXPOSE 8000 9090
# tini is process 1: it reaps the processes that plugins start and leave behind, which Node would not, passes signals on to
# the daemon, its only child, and ends with the daemon's exit code.
ENTRYPOINT ["/usr/bin/tini", "--", "/app/plugin-host"]
CMD ["serve"]
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 CMD ["node", "/app/healthcheck.mjs"]
