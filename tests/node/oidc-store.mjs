// What an oidc-provider keeps, in memory: without the bound of its own memory adapter, and outliving an instance of the provider.
export class Store {
  #entries = new Map();

  of(model) {
    const entries = this.#entries;
    const key = (id) => `${model}:${id}`;
    const where = (field, value) =>
      [...entries].find(([name, entry]) => name.startsWith(`${model}:`) && entry.payload[field] === value)?.[1].payload;
    return {
      async upsert(id, payload, seconds) {
        entries.set(key(id), { payload, until: seconds === undefined ? Infinity : Date.now() + seconds * 1000 });
      },
      async find(id) {
        const entry = entries.get(key(id));
        if (entry && entry.until <= Date.now()) entries.delete(key(id));
        return entries.get(key(id))?.payload;
      },
      findByUid: async (uid) => where("uid", uid),
      findByUserCode: async (userCode) => where("userCode", userCode),
      async consume(id) {
        entries.get(key(id)).payload.consumed = Math.floor(Date.now() / 1000);
      },
      async destroy(id) {
        entries.delete(key(id));
      },
      async revokeByGrantId(grantId) {
        for (const [name, entry] of entries) if (entry.payload.grantId === grantId) entries.delete(name);
      },
    };
  }
}
