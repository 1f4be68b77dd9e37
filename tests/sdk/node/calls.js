// Carries out calls with the official Node.js clients: a line of JSON in, {"client", "product", "action", "parameters"}, a
// line of JSON out, {"answer"} or {"status", "code", "message"}.
//
// "typed" is @alicloud/vpc20160428, and for Cbn, which has no package of its own, callApi of @alicloud/openapi-client; both
// sign ACS3. "pop" is @alicloud/pop-core, which signs RPC v1.
'use strict';

const readline = require('readline');

const [, , endpoint, accessKeyId, accessKeySecret] = process.argv;
const load = (name) => require(require.resolve(name, { paths: [process.env.NODE_CLIENTS] }));
const VERSIONS = { Cbn: '2017-09-12', Vpc: '2016-04-28' };

const OpenApi = load('@alicloud/openapi-client');
const Util = load('@alicloud/tea-util');
const Vpc = load('@alicloud/vpc20160428');
const Pop = load('@alicloud/pop-core');

const config = new OpenApi.Config({ accessKeyId, accessKeySecret, endpoint, protocol: 'http' });
const vpc = new Vpc.default(config);
const openApi = new OpenApi.default(config);

async function typed(product, action, parameters) {
  if (product === 'Cbn') {
    const params = new OpenApi.Params({
      action, version: VERSIONS[product], protocol: 'HTTP', method: 'POST', authType: 'AK', style: 'RPC', pathname: '/',
      reqBodyType: 'formData', bodyType: 'json',
    });
    const request = new OpenApi.OpenApiRequest({ query: flat(parameters) });
    return (await openApi.callApi(params, request, new Util.RuntimeOptions({}))).body;
  }
  const Request = Vpc[`${action}Request`];
  const spelled = Object.fromEntries(Object.entries(Request.names()).map(([field, name]) => [name, field]));
  const fields = Object.entries(parameters).map(([name, value]) => [spelled[name], value]);
  const method = action[0].toLowerCase() + action.slice(1);
  const { body } = await vpc[method](new Request(Object.fromEntries(fields)));
  return body.toMap();
}

// callApi takes texts only.
function flat(value, name = '') {
  if (value === null || typeof value !== 'object') {
    return { [name]: String(value) };
  }
  const key = Array.isArray(value) ? (index) => Number(index) + 1 : (index) => index;
  const parts = Object.entries(value).map(([index, part]) => flat(part, name ? `${name}.${key(index)}` : key(index)));
  return Object.assign({}, ...parts);
}

async function pop(product, action, parameters) {
  const apiVersion = VERSIONS[product];
  const client = new Pop.RPCClient({ accessKeyId, accessKeySecret, endpoint: `http://${endpoint}`, apiVersion });
  return client.request(action, parameters, { method: 'POST', formatParams: false });
}

async function answer({ client, product, action, parameters }) {
  try {
    return { answer: await (client === 'pop' ? pop : typed)(product, action, parameters) };
  } catch (error) {
    const data = error.data || {};
    const status = data.statusCode || error.statusCode || (error.entry && error.entry.response.statusCode);
    return { status: Number(status), code: error.code, message: error.message };
  }
}

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    process.stdout.write(`${JSON.stringify(await answer(JSON.parse(line)))}\n`);
  }
})();
