import { nginxMain } from "../nginx.ts";
import { type LocalStackLayout, STATE_FILES } from "./layout.ts";
import {
  AWAY,
  answerLocations,
  INTERNAL,
  REFUSAL_STATUS,
  refusalLocations,
  refusalMaps,
  refusalUri,
} from "./refusals.ts";
import { KEEP_ALIVE, transfer, upstream } from "./transfer.ts";

/**
 * nginx configuration of the relay that S3 uploads pass. nginx cannot end single requests: stopping this process, which
 * relay.sh does, ends all uploads that are under way, and nothing else, which is how the limit holds against uploads of
 * unknown length. The gate hands it PUT and POST only, so that a GET can tell how many there are and hide no bucket.
 */
export function renderUploads(layout: LocalStackLayout): string {
  const { loopback, uploadsPort, localstackPort, state } = layout;
  return nginxMain(layout, "uploads", [
    transfer(),
    upstream("localstack", `${loopback}:${localstackPort}`),
    `
access_log off;
map "" $service { default s3; }
map "" $form { default s3; }`,
    refusalMaps(),
    `
server {
  listen ${loopback}:${uploadsPort};
  recursive_error_pages on;
  location / {
    if ($request_method = GET) { return 480; }
    error_page 480 =200 ${INTERNAL}writers;
    # Asked again: storage may have filled since the gate has asked.
    if (-f ${state}/${STATE_FILES.full}) { return 481; }
    if (-f ${state}/${STATE_FILES.over}) { return 481; }
    error_page 481 =${REFUSAL_STATUS.s3} ${refusalUri("s3")};
    error_page 502 504 = @away_s3;
    proxy_pass http://localstack;
    proxy_set_header Host $http_host;
    proxy_set_header Connection ${KEEP_ALIVE};
  }
  # Connections: Writing counts requests under way, this one included.
  location = ${INTERNAL}writers { internal; stub_status; }
${refusalLocations(state)}
${answerLocations("away", AWAY)}
}`,
  ]);
}
