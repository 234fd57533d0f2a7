export let picture = null;
  export const chosen = {}, offer = (all) => { for (const name in all) chosen[name] ??= all[name][0]; };
  export const onChange = () => 0, ranked = (rows) => [...rows], show = (next) => { picture = next; shown.push(next.digest); };