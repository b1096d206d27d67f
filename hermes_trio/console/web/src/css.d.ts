// Style sheets are esbuild's: to the type checker they are nothing.
declare module "*.css";
