const net = require('net');
const tls = require('tls');
const [host, port] = process.argv.slice(-2);
const options = { host: '127.0.0.1', port: Number(port) };
if (net.isIP(host)) {
  options.checkServerIdentity = (_, certificate) => tls.checkServerIdentity(host, certificate);
} else {
  options.servername = host;
}
const socket = tls.connect(options, () => {
  console.log('\tok');
  process.exit();
});
socket.on('error', (error) => {
  console.log(`\t${error.code || error.message}`);
  process.exit();
});
