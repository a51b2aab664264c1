"""The style sheet: light and dark as the reader's system asks, for a phone, a screen and paper."""

STYLE = """
:root{color-scheme:light dark;--bg:#fff;--fg:#1b1f24;--dim:#5b6470;--line:#d9dee4;
--soft:#f4f6f8;--bad:#b3261e;
--warn:#8a5a00;--good:#1a7f37;--hot:31 111 235;
--c0:#1f6feb;--c1:#d1571a;--c2:#1a7f37;--c3:#8250df;--c4:#b3261e;--c5:#0a7e8c;
--c6:#9a6700;--c7:#bf3989;--c8:#57606a;--c9:#5a7d00;
--c10:#79b0ff;--c11:#f0a070;--c12:#7cc48a;--c13:#b79af0;--c14:#e58b85;--c15:#6fc3cc;--c16:#d9b45a;
--c17:#e59ac6;
--c18:#a3abb5;--c19:#a9c860}
@media(prefers-color-scheme:dark){:root{--bg:#0f1318;--fg:#e4e8ed;--dim:#9aa4b0;--line:#303841;--soft:#181e25;
--bad:#ff8a80;--warn:#e3b341;--good:#56d364;--hot:88 166 255;
--c0:#58a6ff;--c1:#ff9d5c;--c2:#56d364;--c3:#bc8cff;
--c4:#ff7b72;--c5:#39c5cf;--c6:#e3b341;--c7:#f778ba;--c8:#b1bac4;--c9:#a5d032;
--c10:#2f6fbf;--c11:#b8612a;--c12:#2c8f45;--c13:#7d55c0;--c14:#b84a45;--c15:#1f8790;--c16:#93731f;
--c17:#a8467e;
--c18:#6b747e;--c19:#6d8c1f}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1.25rem;max-width:1240px;background:var(--bg);color:var(--fg);
font:15px/1.5 system-ui,sans-serif}
h1{font-size:1.5rem;margin:.2rem 0;overflow-wrap:anywhere}h2{font-size:1.1rem;margin:2rem 0 .6rem}
h3{font-size:.95rem;margin:.2rem 0;overflow-wrap:anywhere}p{margin:.4rem 0;overflow-wrap:anywhere}
.dim,small{color:var(--dim)}.bad{color:var(--bad)}.warn{color:var(--warn)}.good{color:var(--good)}
.wide{overflow-x:auto;max-width:100%}table{border-collapse:collapse;font-size:.88rem}
th,td{padding:.3rem .7rem .3rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
th{color:var(--dim);font-weight:600;white-space:nowrap}td{font-variant-numeric:tabular-nums}
table.rows td,td:first-child{white-space:nowrap}table.facts td{overflow-wrap:anywhere}
table.heat td,table.heat th{padding:.25rem .45rem;text-align:right;border:0}
table.heat td:first-child{text-align:left;white-space:normal;color:var(--dim)}
table.heat th,table.heat td:first-child{min-width:4rem;
max-width:9rem;white-space:normal;overflow-wrap:anywhere}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,360px),1fr));gap:1rem}
figure{margin:0;padding:.7rem;border:1px solid var(--line);border-radius:8px;min-width:0;break-inside:avoid}
figure svg{display:block;width:100%;height:auto;overflow:visible}figcaption{font-size:.82rem;color:var(--dim)}
.key{display:inline-block;width:1.4rem;height:0;border-top:3px solid;margin-right:.4rem;vertical-align:middle}
.dashed{border-top-style:dashed}pre,code{font:.82rem/1.45 ui-monospace,monospace}
pre{background:var(--soft);padding:.7rem;border-radius:8px;white-space:pre-wrap;overflow-wrap:anywhere}
ul{padding-left:1.2rem;margin:.4rem 0}li{overflow-wrap:anywhere}
details{margin:.4rem 0}summary{cursor:pointer}
@media(max-width:600px){body{padding:.8rem;font-size:14px}}
@media print{:root{--bg:#fff;--fg:#000;--dim:#444;--line:#bbb;--soft:#f2f2f2}
body{max-width:none;font-size:11px}.wide{overflow:visible}section{break-inside:auto}h2{break-after:avoid}}
"""
