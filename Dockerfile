# The daemon in a container. Any Debian-like image with node and npm on its path will do as a base:
#   docker build --build-arg BASE_IMAGE=node:24-bookworm-slim -t webapi-plugin-host .
# An npm configuration of your own comes in as a build secret: --secret id=npmrc,src=$HOME/.npmrc
ARG BASE_IMAGE=node:22-bookworm-slim

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

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="webapi-plugin-host" \
  org.opencontainers.image.description="Hosts WebAPI plugins for workflow engines" \
  org.opencontainers.image.licenses="Apache-2.0"
# The init that reaps what plugins leave behind; a base that has it already needs no mirror of Debian.
RUN test -x /usr/bin/tini || { apt-get update && apt-get install -y --no-install-recommends tini && rm -rf /var/lib/apt/lists/*; }
WORKDIR /app
COPY --from=build /build/package.json /build/LICENSE /build/config.default.json ./
COPY --from=build /build/node_modules ./node_modules
COPY --from=build /build/proto ./proto
COPY --from=build /build/dist ./dist
COPY scripts/healthcheck.mjs ./healthcheck.mjs
COPY scripts/image-entry.sh ./plugin-host
ENV NODE_ENV=production STATE_DIRECTORY=/var/lib/plugin-host
# The one place that the daemon writes to; a volume belongs there.
RUN mkdir -p /var/lib/plugin-host && chown 65532:65532 /var/lib/plugin-host && chmod 700 /var/lib/plugin-host
VOLUME /var/lib/plugin-host
# A number, so that Kubernetes can verify runAsNonRoot. Nothing in the image but the state's folder is writable by it.
USER 65532:65532
EXPOSE 8000 9090
# tini is process 1: it reaps the processes that plugins start and leave behind, which Node would not, passes signals on to
# the daemon, its only child, and ends with the daemon's exit code.
ENTRYPOINT ["/usr/bin/tini", "--", "/app/plugin-host"]
CMD ["serve"]
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 CMD ["node", "/app/healthcheck.mjs"]
