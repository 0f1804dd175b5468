import { BlockList, isIP } from 'node:net';

/**
 * NO_PROXY for undici, which knows names, suffixes and addresses but no networks: those that hold one of these hosts are
 * followed by the host itself.
 */
export function withNetworks(noProxy: string, hosts: readonly string[]): string {
  const networks = networksIn(noProxy);
  const inside = hosts.filter((host) => {
    const address = host.replace(/^\[|\]$/g, '');
    const version = isIP(address);
    return version !== 0 && networks.check(address, version === 6 ? 'ipv6' : 'ipv4');
  });
  return [noProxy, ...inside].filter((part) => part !== '').join(',');
}

function networksIn(noProxy: string): BlockList {
  const networks = new BlockList();
  for (const entry of noProxy.split(/[\s,]+/)) {
    const [, address = '', size = ''] = /^\[?([0-9a-f:.]+)\]?\/(\d{1,3})$/i.exec(entry) ?? [];
    const version = isIP(address);
    if (version === 0 || Number(size) > (version === 6 ? 128 : 32)) continue;
    networks.addSubnet(address, Number(size), version === 6 ? 'ipv6' : 'ipv4');
  }
  return networks;
}
