// A function as people write them, but for the SDK, which the lab's runtime has not: it speaks to the endpoints by itself.
export async function handler(asked) {
  // A queue calls with its messages, people with what they want.
  const event = asked.Records ? JSON.parse(asked.Records[0].body) : asked;
  if (event.fail) throw new RangeError("as it was asked to");
  // What LocalStack tells every function, and SDKs read.
  const object = await ask(`${process.env.AWS_ENDPOINT_URL}/${event.bucket}/from-the-function`, {
    method: "PUT",
    body: "hello",
  });
  // The queue's URL as it was returned to a laptop: HTTPS, by name, certified by the private CA.
  const message = await ask(event.queueUrl, {
    method: "POST",
    headers: { "content-type": "application/x-www-form-urlencoded" },
    body: new URLSearchParams({ Action: "SendMessage", MessageBody: "hello from the function" }),
  });
  return { object: object.status, message: message.status, uid: process.getuid(), stage: process.env.STAGE };
}

/** fetch, whose error says what went wrong and where. */
async function ask(url, options) {
  try {
    return await fetch(url, options);
  } catch (error) {
    throw new Error(`${url}: ${error.cause ?? error}`);
  }
}
